-- Drop a group if it has no members, and with it the claim on it.
-- Takes  keys (groups members claims), group
-- Returns  whether it was dropped
local function drop_empty_group(keys, group)
  if redis.call('ZLEXCOUNT', keys.members, '[' .. group .. '\n', '[' .. group .. '\n\255') > 0 then return false end
  redis.call('ZREM', keys.groups, group)
  redis.call('HDEL', keys.claims, group)
  return true
end
