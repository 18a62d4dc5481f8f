-- Look who holds a unique lock now.
-- Takes  key of the locks, digest ("": none), now-ms
-- Returns  id of the task that holds it, the lock's value; nil: it is free
local function lock_holder(locks, digest, now)
  local value = digest ~= '' and redis.call('HGET', locks, digest)
  local ends, holder = string.match(value or '', '^(%d+) (.*)$')
  if ends and tonumber(ends) > now then return holder, value end
end
