-- Add tasks to groups, where they wait to be merged into one.
-- KEYS  index locks records aggregating groups members claims
-- ARGV  now-ms (0: the server's), most aggregating tasks,
--       then per task: id, data, lock digest ("": none), lock-ms, group, grace-ms, delay-ms (0: none),
--       most members
-- Returns  one item a task: 3 aggregating, -2 id conflict, -3 full, or the id that holds the lock
-- Invariant  a member is in the group by its name and in `aggregating` by its time, or in neither
-- Uses  clock lock_holder join
local now = clock(ARGV[1])
local answers = {}

local keys = { aggregating = KEYS[4], groups = KEYS[5], members = KEYS[6], claims = KEYS[7] }

for a = 3, #ARGV, 8 do
  local id, lock = ARGV[a], ARGV[a + 2]
  local holder = lock_holder(KEYS[2], lock, now)
  if redis.call('HEXISTS', KEYS[1], id) == 1 then
    answers[#answers + 1] = -2
  elseif redis.call('ZCARD', KEYS[4]) >= tonumber(ARGV[2]) then
    answers[#answers + 1] = -3
  elseif holder then
    answers[#answers + 1] = holder
  else
    redis.call('HSET', KEYS[1], id, 'aggregating')
    redis.call('HSET', KEYS[3], id, ARGV[a + 1])
    if lock ~= '' then
      redis.call('HSET', KEYS[2], lock, string.format('%.0f', now + ARGV[a + 3]) .. ' ' .. id)
    end
    join(keys, now, id, ARGV[a + 4], tonumber(ARGV[a + 5]), tonumber(ARGV[a + 6]),
      tonumber(ARGV[a + 7]))
    answers[#answers + 1] = 3
  end
end
return answers
