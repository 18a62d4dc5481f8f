-- Settle tasks that did not simply succeed: to retry, archived, completed, quarantined or gone.
-- KEYS  stream index locks totals hour records tries history retry archived completed
--       quarantined results cancels scheduled day
-- ARGV  now-ms (0: the server's), group, minute of the hour, attempts kept,
--       then per task: entry id, task id, kind, verdict (retry archived completed quarantined
--       dropped waiting scheduled), at-ms (retry, scheduled: due in so many ms; completed:
--       forgotten in so many), tries, attempt as JSON ("": none), lock digest, result as JSON,
--       outcomes to count, separated by commas ("": none)
-- Returns  the entry ids that were refused: their server had lost its lease
-- Invariant  the move is one step: a task is never in two places nor in none; a result so far
--          stays with what failed, and goes with what is dropped or waits anew
-- Uses  clock unlock read_entry append count
local now = clock(ARGV[1])
local group, minute, kept = ARGV[2], ARGV[3], tonumber(ARGV[4])
local sets = { retry = KEYS[9], archived = KEYS[10], completed = KEYS[11], quarantined = KEYS[12],
  scheduled = KEYS[15] }
local later = { retry = true, completed = true, scheduled = true }
local on_its_way = { retry = true, waiting = true, scheduled = true }
local refused, counts = {}, {}

local function remember(id, line)
  if line == '' then return end
  local old = redis.call('HGET', KEYS[8], id)
  if old then
    local cut = 0
    for _ = 1, kept - 1 do
      cut = string.find(old, '\n', cut + 1, true)
      if not cut then break end
    end
    line = line .. '\n' .. (cut and string.sub(old, 1, cut - 1) or old)
  end
  redis.call('HSET', KEYS[8], id, line)
end

for a = 5, #ARGV, 10 do
  local entry, id, kind, verdict = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
  local fields, data = read_entry(KEYS[1], entry)
  if redis.call('XACK', KEYS[1], group, entry) == 0 then
    refused[#refused + 1] = entry
  elseif not fields then
    -- Somebody deleted the entry by hand: without it there is nothing to keep, and the id is free.
    refused[#refused + 1] = entry
    if redis.call('HGET', KEYS[2], id) == entry then
      redis.call('HDEL', KEYS[2], id)
      redis.call('HDEL', KEYS[8], id)
      redis.call('HDEL', KEYS[13], id)
      redis.call('HDEL', KEYS[14], id)
    end
    unlock(KEYS[3], ARGV[a + 7], id)
  else
    redis.call('XDEL', KEYS[1], entry)
    local place = redis.call('HGET', KEYS[2], id)
    if place and place ~= entry then id = id .. '#' .. entry end
    if verdict == 'waiting' then
      local tries = ARGV[a + 5] ~= '0 0' and ARGV[a + 5] or nil
      local new = append(KEYS[1], data, tries)
      if place == entry then redis.call('HSET', KEYS[2], id, new) end
      redis.call('HDEL', KEYS[13], id)
    elseif verdict == 'dropped' then
      redis.call('HDEL', KEYS[2], id)
      redis.call('HDEL', KEYS[8], id)
      redis.call('HDEL', KEYS[13], id)
    else
      local at = now
      if later[verdict] then at = now + ARGV[a + 4] end
      redis.call('ZADD', sets[verdict], string.format('%.0f', at), id)
      redis.call('HSET', KEYS[6], id, data or cmsgpack.pack(fields))
      redis.call('HSET', KEYS[7], id, ARGV[a + 5])
      redis.call('HSET', KEYS[2], id, verdict)
      remember(id, ARGV[a + 6])
      if ARGV[a + 8] ~= '' then
        redis.call('HSET', KEYS[13], id, ARGV[a + 8])
      elseif verdict == 'completed' then
        redis.call('HDEL', KEYS[13], id)
      end
    end
    if not on_its_way[verdict] then unlock(KEYS[3], ARGV[a + 7], ARGV[a + 1]) end
    redis.call('HDEL', KEYS[14], ARGV[a + 1])
    for outcome in string.gmatch(ARGV[a + 9], '[^,]+') do
      local field = kind .. ':' .. outcome
      counts[field] = (counts[field] or 0) + 1
    end
  end
end
for field, number in pairs(counts) do
  count(KEYS[4], KEYS[5], KEYS[16], minute, field, number)
end
redis.call('EXPIRE', KEYS[5], 262800)
return refused
