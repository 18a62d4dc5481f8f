-- Give a task a unique lock, which the caller has found free or the task's own.
-- Takes  key of the locks, digest ("": none), task id, now-ms, lock-ms
-- Returns  nothing
local function take_lock(locks, digest, id, now, ttl_ms)
  if digest == '' then return end
  redis.call('HSET', locks, digest, string.format('%.0f', now + ttl_ms) .. ' ' .. id)
end
