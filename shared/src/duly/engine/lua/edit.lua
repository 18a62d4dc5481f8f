-- Replace the message of a task outside the stream, if it is still the one that was read.
-- KEYS  index records locks
-- ARGV  now-ms (0: the server's), task id, states that allow it, separated by spaces,
--       message as read, new message, lock digest as read ("": none), new lock digest ("": none)
-- Returns  answer, holder: "ok", "missing", "changed" (read again), "locked" (by the holder), or
--          the state that does not allow it ("under way": waiting or active)
-- Invariant  a unique lock goes with its payload; its time stays what it was
-- Uses  clock lock_holder
local now = clock(ARGV[1])
local id, old, new = ARGV[2], ARGV[6], ARGV[7]
local place = redis.call('HGET', KEYS[1], id)
if not place then return { 'missing', '' } end
if not string.find(' ' .. ARGV[3] .. ' ', ' ' .. place .. ' ', 1, true) then
  return { string.find(place, '^%d+%-%d+$') and 'under way' or place, '' }
end
if redis.call('HGET', KEYS[2], id) ~= ARGV[4] then return { 'changed', '' } end

if old ~= new then
  local holder, value = lock_holder(KEYS[3], old, now)
  local other = lock_holder(KEYS[3], new, now)
  if holder == id then
    if other and other ~= id then return { 'locked', other } end
    if new ~= '' then redis.call('HSET', KEYS[3], new, value) end
    redis.call('HDEL', KEYS[3], old)
  end
end
redis.call('HSET', KEYS[2], id, ARGV[5])
return { 'ok', '' }
