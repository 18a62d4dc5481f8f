-- Add a task in the place of one that has ended, and mark that one with it.
-- KEYS  stream index records locks
-- ARGV  now_ms (0: the broker's clock), id, read (its message as read), marked (the same with the mark), new_id, data,
--       lock (digest of the new task; "": not unique), lock_ttl_ms
-- Returns  "ok", "missing", "changed" (read again), "taken" (the new id), or the state that does
--          not allow it ("under way": waiting or active), or "locked" and the id that holds the lock
-- Invariant  both or neither, so a repeated call finds the mark and adds nothing
-- Uses  clock lock_holder take_lock
local place = redis.call('HGET', index, id)
if not place then return 'missing' end
if string.find(place, '^%d+%-%d+$') then return 'under way' end
if not ALLOWED.rerun[place] then return place end
if redis.call('HGET', records, id) ~= read then return 'changed' end
if redis.call('HEXISTS', index, new_id) == 1 then return 'taken' end
local now = clock(now_ms)
local holder = lock_holder(locks, lock, now)
if holder then return 'locked ' .. holder end
take_lock(locks, lock, new_id, now, lock_ttl_ms)
redis.call('HSET', index, new_id, redis.call('XADD', stream, '*', 'data', data))
redis.call('HSET', records, id, marked)
return 'ok'
