-- Forget a join: the task that waits for its members will not be.
-- KEYS  joins awaited
-- ARGV  join id
-- Returns  1, or 0 when there is no such join
-- Invariant  nothing of it is left; members that still report find nothing
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if not kept then return 0 end
local ok, fields = pcall(cmsgpack.unpack, kept)
local members = ok and type(fields) == 'table' and tonumber(fields[2]) or 0
for i = 0, math.min(members, 1000) - 1 do
  redis.call('HDEL', KEYS[2], ARGV[1] .. '\n' .. i)
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
