-- Add one task, unless its id or its lock is taken.
-- Takes  keys (stream index scheduled locks records), now-ms, task id, data, due-ms,
--        delay-ms (0: due counts), lock digest ("": none), lock-ms
-- Returns  ms until it is due, 0 when it waits, -1 when it was refused
-- Uses  lock_holder take_lock
local function add_one(keys, now, id, data, due_ms, delay_ms, lock, ttl_ms)
  if redis.call('HEXISTS', keys.index, id) == 1 then return -1 end
  if lock_holder(keys.locks, lock, now) then return -1 end
  local due, delay = tonumber(due_ms), tonumber(delay_ms)
  if delay > 0 then due = now + delay end
  local wait = math.max(0, due - now)
  take_lock(keys.locks, lock, id, now + wait, ttl_ms)
  if wait > 0 then
    redis.call('ZADD', keys.scheduled, string.format('%.0f', due), id)
    redis.call('HSET', keys.records, id, data)
    redis.call('HSET', keys.index, id, 'scheduled')
  else
    redis.call('HSET', keys.index, id, redis.call('XADD', keys.stream, '*', 'data', data))
  end
  return wait
end
