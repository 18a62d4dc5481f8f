-- Let a task wait in its group. That is due when its newest member has waited for the grace, its
-- oldest for the delay, or when it is full. Who has claimed it decides himself when it is due again.
-- Takes  keys (aggregating groups members claims), now-ms, task id, group, grace-ms,
--        delay-ms (0: none), most members
-- Returns  nothing
local function enter_group(keys, now, id, group, grace, delay, size)
  redis.call('ZADD', keys.aggregating, string.format('%.0f', now), id)
  redis.call('ZADD', keys.members, 0, group .. '\n' .. string.format('%013.0f', now) .. '\n' .. id)
  -- A claim without a time at which it ends is nobody's.
  if redis.call('HEXISTS', keys.claims, group) == 1 and redis.call('ZSCORE', keys.groups, group) then
    return
  end
  local low, high, due = '[' .. group .. '\n', '[' .. group .. '\n\255', now + grace
  if redis.call('ZLEXCOUNT', keys.members, low, high) >= size then due = now end
  if delay > 0 then
    local first = redis.call('ZRANGEBYLEX', keys.members, low, high, 'LIMIT', 0, 1)[1]
    due = math.min(due, (tonumber(string.sub(first, #group + 2, #group + 14)) or now) + delay)
  end
  redis.call('ZADD', keys.groups, string.format('%.0f', due), group)
end
