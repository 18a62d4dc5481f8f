-- Enqueue the task of a schedule entry now, beside its ticks, and record it among them.
-- KEYS  stream index ticks locks tick_history
-- ARGV  now_ms (0: the broker's clock), entry, id, data, ticks_kept,
--       lock (digest; "": not unique), lock_ttl_ms
-- Returns  1, 0 when there is a task of this id, or the id that holds the lock
-- Invariant  a trigger that is repeated with the same task id enqueues nothing more
-- Uses  clock lock_holder record_tick require_stream take_lock
local now = clock(now_ms)
local missing = require_stream(stream)
if missing then return missing end
if redis.call('HEXISTS', index, id) == 1 then return 0 end
local holder = lock_holder(locks, lock, now)
if holder then return holder end
redis.call('HSET', index, id, redis.call('XADD', stream, '*', 'data', data))
take_lock(locks, lock, id, now, lock_ttl_ms)
record_tick(tick_history, ticks, ticks_kept, entry, string.format('%.0f', now), 'triggered', id)
return 1
