-- Replace the message of a task outside the stream, if it is still the one that was read.
-- KEYS  index records locks
-- ARGV  now_ms (0: the broker's clock), id, states (that allow it, separated by spaces),
--       read (the message as read), data (the new one), old_lock (digest as read; "": none),
--       new_lock (digest; "": none)
-- Returns  answer, holder: "ok", "missing", "changed" (read again), "locked" (by the holder), or
--          the state that does not allow it ("under way": waiting or active)
-- Invariant  a unique lock follows the payload, and keeps its expiry
-- Uses  clock lock_holder
local now = clock(now_ms)
local place = redis.call('HGET', index, id)
if not place then return { 'missing', '' } end
if not string.find(' ' .. states .. ' ', ' ' .. place .. ' ', 1, true) then
  return { string.find(place, '^%d+%-%d+$') and 'under way' or place, '' }
end
if redis.call('HGET', records, id) ~= read then return { 'changed', '' } end

if old_lock ~= new_lock then
  local holder, value = lock_holder(locks, old_lock, now)
  local other = lock_holder(locks, new_lock, now)
  if holder == id then
    if other and other ~= id then return { 'locked', other } end
    if new_lock ~= '' then redis.call('HSET', locks, new_lock, value) end
    redis.call('HDEL', locks, old_lock)
  end
end
redis.call('HSET', records, id, data)
return { 'ok', '' }
