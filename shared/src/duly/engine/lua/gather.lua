-- Add tasks to groups, where they wait to be merged into one.
-- KEYS  index locks records aggregating groups members claims
-- ARGV  now-ms (0: the server's), most aggregating tasks,
--       then per task: id, data, lock digest ("": none), lock-ms, group, grace-ms, delay-ms (0: none),
--       most members
-- Returns  one item a task: 3 aggregating, -2 id conflict, -3 full, or the id that holds the lock
-- Invariant  a member is in the group by its name and in `aggregating` by its time, or in neither
local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local answers = {}

-- The same as in move.lua. A group is due when its newest has waited for the grace, its oldest for
-- the delay, or when it is full. Who has claimed it decides himself when it is due again.
local function join(id, group, grace, delay, size)
  redis.call('ZADD', KEYS[4], string.format('%.0f', now), id)
  redis.call('ZADD', KEYS[6], 0, group .. '\n' .. string.format('%013.0f', now) .. '\n' .. id)
  if redis.call('HEXISTS', KEYS[7], group) == 1 then return end
  local low, high, due = '[' .. group .. '\n', '[' .. group .. '\n\255', now + grace
  if redis.call('ZLEXCOUNT', KEYS[6], low, high) >= size then due = now end
  if delay > 0 then
    local first = redis.call('ZRANGEBYLEX', KEYS[6], low, high, 'LIMIT', 0, 1)[1]
    due = math.min(due, tonumber(string.sub(first, #group + 2, #group + 14)) + delay)
  end
  redis.call('ZADD', KEYS[5], string.format('%.0f', due), group)
end

for a = 3, #ARGV, 8 do
  local id, lock = ARGV[a], ARGV[a + 2]
  local held = lock ~= '' and redis.call('HGET', KEYS[2], lock)
  if redis.call('HEXISTS', KEYS[1], id) == 1 then
    answers[#answers + 1] = -2
  elseif redis.call('ZCARD', KEYS[4]) >= tonumber(ARGV[2]) then
    answers[#answers + 1] = -3
  elseif held and tonumber(string.match(held, '^%d+') or 0) > now then
    answers[#answers + 1] = string.match(held, ' (.*)') or ''
  else
    redis.call('HSET', KEYS[1], id, 'aggregating')
    redis.call('HSET', KEYS[3], id, ARGV[a + 1])
    if lock ~= '' then
      redis.call('HSET', KEYS[2], lock, string.format('%.0f', now + ARGV[a + 3]) .. ' ' .. id)
    end
    join(id, ARGV[a + 4], tonumber(ARGV[a + 5]), tonumber(ARGV[a + 6]), tonumber(ARGV[a + 7]))
    answers[#answers + 1] = 3
  end
end
return answers
