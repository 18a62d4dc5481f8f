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
local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local group, minute, name = ARGV[2], ARGV[3], ARGV[5]
local refused, left_out, posted, soon = {}, 0, 0, false

local function count(kind, outcome)
  redis.call('HINCRBY', KEYS[4], kind .. ':' .. outcome, 1)
  redis.call('HINCRBY', KEYS[5], minute .. ':' .. kind .. ':' .. outcome, 1)
  -- Only a field's first count can be a key's first.
  if redis.call('HINCRBY', KEYS[14], kind .. ':' .. outcome, 1) == 1 then
    redis.call('EXPIRE', KEYS[14], 7948800)
  end
end

-- The same as in deliver.lua: add one task, unless its id or its lock is taken.
local function enter(id, data, due, delay, lock, ttl)
  if redis.call('HEXISTS', KEYS[2], id) == 1 then return false end
  if delay > 0 then due = now + delay end
  if lock ~= '' then
    local held = redis.call('HGET', KEYS[3], lock)
    if held and tonumber(string.match(held, '^%d+') or 0) > now then return false end
    local ends = now + ttl + math.max(0, due - now)
    redis.call('HSET', KEYS[3], lock, string.format('%.0f', ends) .. ' ' .. id)
  end
  if due > now then
    redis.call('ZADD', KEYS[12], string.format('%.0f', due), id)
    redis.call('HSET', KEYS[6], id, data)
    redis.call('HSET', KEYS[2], id, 'scheduled')
    soon = soon or due < now + 5000
  else
    redis.call('HSET', KEYS[2], id, redis.call('XADD', KEYS[1], '*', 'data', data))
  end
  return true
end

local function settle(entry, id, lock, keep, tries, result)
  local found = keep > 0 and redis.call('XRANGE', KEYS[1], entry, entry)[1]
  if redis.call('XACK', KEYS[1], group, entry) == 0 then return false end
  redis.call('XDEL', KEYS[1], entry)
  local held = lock ~= '' and redis.call('HGET', KEYS[3], lock)
  if held and string.match(held, ' (.*)') == id then
    redis.call('HDEL', KEYS[3], lock)
  end
  redis.call('HDEL', KEYS[11], id)
  local place = redis.call('HGET', KEYS[2], id)
  if found then
    if place and place ~= entry then id = id .. '#' .. entry end
    local data
    for k = 1, #found[2], 2 do
      if found[2][k] == 'data' then data = found[2][k + 1] end
    end
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
    count(kind, 'processed')
    for b = a + 8, a + 8 + 10 * (n - 1), 10 do
      if ARGV[b] == name and ARGV[b + 1] == 'task' then
        if not enter(ARGV[b + 4], ARGV[b + 5], tonumber(ARGV[b + 6]), tonumber(ARGV[b + 7]),
            ARGV[b + 8], tonumber(ARGV[b + 9])) then
          count(kind, 'successor_refused')
          left_out = left_out + 1
        end
      else
        redis.call('XADD', KEYS[13], '*', 'queue', ARGV[b], 'what', ARGV[b + 1], 'join', ARGV[b + 2],
          'number', ARGV[b + 3], 'id', ARGV[b + 4], 'data', ARGV[b + 5], 'due', ARGV[b + 6],
          'delay', ARGV[b + 7], 'lock', ARGV[b + 8], 'lock-ms', ARGV[b + 9])
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
