-- End the claim of a group: one task in its members' place, or the members archived, or neither.
-- KEYS  stream index locks records aggregating groups members claims archived history totals
-- ARGV  now-ms (0: the server's), token, group, outcome (merge archive back), the rest is due in so
--       many ms, merged task's id and data, lock digest ("": none) and lock-ms, attempt as JSON
--       (archive), then per member: id, lock digest
-- Returns  "ok"; "lost": another server has claimed it; "changed": a member has left, look again;
--          or the id of the task that holds the merged one's id or lock
-- Invariant  the merged task comes in the step in which its members go
-- Uses  clock lock_holder unlock
local now = clock(ARGV[1])
local group, outcome, merged, lock = ARGV[3], ARGV[4], ARGV[6], ARGV[8]
local held = redis.call('HGET', KEYS[8], group)
local token, since = string.match(held or '', '^(.*) (%d+) %d+$')
if token ~= ARGV[2] then return 'lost' end
if outcome == 'back' then
  redis.call('ZADD', KEYS[6], string.format('%.0f', now + ARGV[5]), group)
  return 'ok'
end

local function name(time, id)
  return group .. '\n' .. string.format('%013.0f', time) .. '\n' .. id
end

local joined, leaves = {}, {}
for a = 11, #ARGV, 2 do
  -- Another task may have its id by now, in another group or in this one since the claim.
  local time = redis.call('ZSCORE', KEYS[5], ARGV[a])
  if time and tonumber(time) <= tonumber(since)
    and redis.call('ZSCORE', KEYS[7], name(time, ARGV[a])) then
    joined[a], leaves[ARGV[a]] = time, true
  end
  if not joined[a] and outcome == 'merge' then
    redis.call('ZADD', KEYS[6], string.format('%.0f', now), group)
    -- Nobody's failure, so it does not count as a try. Without its time the claim is over.
    redis.call('HSET', KEYS[8], group, ARGV[2] .. ' ' .. string.match(held, '%d+$') - 1)
    return 'changed'
  end
end
if outcome == 'merge' then
  local holder = lock_holder(KEYS[3], lock, now)
  -- What a member holds is free once it leaves.
  if holder and not leaves[holder] then return holder end
  if redis.call('HEXISTS', KEYS[2], merged) == 1 then return merged end
end

for a = 11, #ARGV, 2 do
  local id = ARGV[a]
  if joined[a] then
    redis.call('ZREM', KEYS[5], id)
    redis.call('ZREM', KEYS[7], name(joined[a], id))
    unlock(KEYS[3], ARGV[a + 1], id)
    if outcome == 'merge' then
      redis.call('HDEL', KEYS[2], id)
      redis.call('HDEL', KEYS[4], id)
    else
      redis.call('ZADD', KEYS[9], string.format('%.0f', now), id)
      redis.call('HSET', KEYS[2], id, 'archived')
      redis.call('HSET', KEYS[10], id, ARGV[10])
    end
  end
end
if outcome == 'merge' then
  redis.call('HSET', KEYS[2], merged, redis.call('XADD', KEYS[1], '*', 'data', ARGV[7]))
  if lock ~= '' then
    redis.call('HSET', KEYS[3], lock, string.format('%.0f', now + ARGV[9]) .. ' ' .. merged)
  end
  redis.call('HINCRBY', KEYS[11], string.match(group, '^[^:]*') .. ':aggregated', (#ARGV - 10) / 2)
end
redis.call('HDEL', KEYS[8], group)
if redis.call('ZLEXCOUNT', KEYS[7], '[' .. group .. '\n', '[' .. group .. '\n\255') > 0 then
  redis.call('ZADD', KEYS[6], string.format('%.0f', now + ARGV[5]), group)
else
  redis.call('ZREM', KEYS[6], group)
end
return 'ok'
