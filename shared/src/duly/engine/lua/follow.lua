-- Settle tasks that succeeded, and bring about what comes after them.
-- KEYS  stream index locks totals hour records tries history completed results cancels scheduled
--       outbox day
-- ARGV  now-ms (0: the server's), group, minute of the hour, control channel, this queue's name,
--       then per task: entry id, task id, kind, lock digest ("": none), kept for so many ms
--       (0: not at all), "attempts crashes", result as JSON ("": none), number of successors,
--       and per successor: its queue, what (task join arrive), join id, number, task id, data,
--       due-ms, delay-ms, lock digest, lock-ms
-- Returns  the entry ids that were refused: their server had lost its lease; how many successors
--          were refused; how many were put into the outbox
-- Invariant  a task ends and its successors begin in one step, or neither does
-- Uses  clock count read_entry unlock enter dispatch
local now = clock(ARGV[1])
local group, minute, name = ARGV[2], ARGV[3], ARGV[5]
local refused, left_out, posted, soon = {}, 0, 0, false

local keys = { stream = KEYS[1], index = KEYS[2], scheduled = KEYS[12], locks = KEYS[3],
  records = KEYS[6] }

local function settle(entry, id, lock, keep, tries, result)
  local fields, data
  if keep > 0 then fields, data = read_entry(KEYS[1], entry) end
  if redis.call('XACK', KEYS[1], group, entry) == 0 then return false end
  redis.call('XDEL', KEYS[1], entry)
  unlock(KEYS[3], lock, id)
  redis.call('HDEL', KEYS[11], id)
  local place = redis.call('HGET', KEYS[2], id)
  if fields then
    if place and place ~= entry then id = id .. '#' .. entry end
    redis.call('ZADD', KEYS[9], string.format('%.0f', now + keep), id)
    redis.call('HSET', KEYS[6], id, data)
    redis.call('HSET', KEYS[7], id, tries)
    redis.call('HSET', KEYS[2], id, 'completed')
    redis.call('HDEL', KEYS[10], id)
    if result ~= '' then redis.call('HSET', KEYS[10], id, result) end
  elseif place == entry then
    redis.call('HDEL', KEYS[2], id)
    for k = 6, 8 do redis.call('HDEL', KEYS[k], id) end
    redis.call('HDEL', KEYS[10], id)
  end
  return true
end

local a = 6
while a < #ARGV do
  local n, kind = tonumber(ARGV[a + 7]), ARGV[a + 2]
  if settle(ARGV[a], ARGV[a + 1], ARGV[a + 3], tonumber(ARGV[a + 4]), ARGV[a + 5], ARGV[a + 6]) then
    count(KEYS[4], KEYS[5], KEYS[14], minute, kind .. ':processed', 1)
    for b = a + 8, a + 8 + 10 * (n - 1), 10 do
      if ARGV[b] == name and ARGV[b + 1] == 'task' then
        local wait = enter(keys, now, ARGV[b + 4], ARGV[b + 5], tonumber(ARGV[b + 6]),
          tonumber(ARGV[b + 7]), ARGV[b + 8], tonumber(ARGV[b + 9]))
        soon = soon or wait > 0 and wait < 5000
        if wait < 0 then
          count(KEYS[4], KEYS[5], KEYS[14], minute, kind .. ':successor_refused', 1)
          left_out = left_out + 1
        end
      else
        dispatch(KEYS[13], b)
        posted = posted + 1
      end
    end
  else
    refused[#refused + 1] = ARGV[a]
  end
  a = a + 8 + 10 * n
end
redis.call('EXPIRE', KEYS[5], 262800)
-- A user without rights to the channel only loses immediacy, so errors are passed over.
if soon then redis.pcall('PUBLISH', ARGV[4], 'due') end
return { refused, left_out, posted }
