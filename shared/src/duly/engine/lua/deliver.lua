-- Take what lies in an outbox for this queue: tasks, joins, and reports of members.
-- KEYS  stream index scheduled locks records joins awaited delivered totals
-- ARGV  now-ms (0: the server's), ms at which it was read, most ms since then, control channel,
--       then per item: delivery id, what (task join arrive), join id, number, task id, data,
--       due-ms, delay-ms, lock digest, lock-ms
-- Returns  how many were refused because an id or a lock is taken; -1: read too long ago, nothing
--          was done
-- Invariant  a delivery id is obeyed once, for as long as it is remembered, which is longer than
--            anybody may take to deliver what he has read
-- Uses  clock enter
local now = clock(ARGV[1])
if now - ARGV[2] > tonumber(ARGV[3]) then return -1 end
local refused, soon = 0, false

local keys = { stream = KEYS[1], index = KEYS[2], scheduled = KEYS[3], locks = KEYS[4],
  records = KEYS[5] }

local function admit(...)
  local wait = enter(keys, now, ...)
  soon = soon or wait > 0 and wait < 5000
  if wait < 0 then
    refused = refused + 1
    redis.call('HINCRBY', KEYS[9], '-:successor_refused', 1)
  end
end

-- What a join keeps: when it was made, how many members, and the task's fields.
local function arrive(join, number)
  if redis.call('HDEL', KEYS[7], join .. '\n' .. number) == 0 then return end
  if redis.call('HINCRBY', KEYS[7], join, -1) > 0 then return end
  redis.call('HDEL', KEYS[7], join)
  local kept = redis.call('HGET', KEYS[6], join)
  redis.call('HDEL', KEYS[6], join)
  local ok, task = pcall(cmsgpack.unpack, kept or '')
  if not ok or type(task) ~= 'table' or #task ~= 8 then return end
  admit(task[3], task[4], tonumber(task[5]), tonumber(task[6]), task[7], tonumber(task[8]))
end

for a = 5, #ARGV, 10 do
  local what, join, number = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
  if not redis.call('ZSCORE', KEYS[8], ARGV[a]) then
    redis.call('ZADD', KEYS[8], string.format('%.0f', now), ARGV[a])
    if what == 'task' then
      admit(ARGV[a + 4], ARGV[a + 5], tonumber(ARGV[a + 6]), tonumber(ARGV[a + 7]), ARGV[a + 8],
        tonumber(ARGV[a + 9]))
    elseif what == 'arrive' then
      arrive(join, number)
    elseif redis.call('HEXISTS', KEYS[6], join) == 0 then
      redis.call('HSET', KEYS[6], join, cmsgpack.pack({ string.format('%.0f', now), number,
        ARGV[a + 4], ARGV[a + 5], ARGV[a + 6], ARGV[a + 7], ARGV[a + 8], ARGV[a + 9] }))
      redis.call('HSET', KEYS[7], join, number)
      for i = 0, tonumber(number) - 1 do
        redis.call('HSET', KEYS[7], join .. '\n' .. i, '')
      end
    else
      refused = refused + 1
      redis.call('HINCRBY', KEYS[9], '-:successor_refused', 1)
    end
  end
end
-- A user without rights to the channel only loses immediacy, so errors are passed over.
if soon then redis.pcall('PUBLISH', ARGV[4], 'due') end
return refused
