-- Drop unique locks that have expired, one part of the hash at a time.
-- KEYS  locks
-- ARGV  now_ms (0: the broker's clock), cursor ("0": from the beginning),
--       most (about how many to look at)
-- Returns  cursor to continue with ("0": all were looked at), how many were dropped
-- Invariant  a lock that has not expired stays
-- Uses  clock
local now = clock(now_ms)
local found = redis.call('HSCAN', locks, cursor, 'COUNT', most)
local dropped = 0
for i = 1, #found[2], 2 do
  local ends = tonumber(string.match(found[2][i + 1], '^(%d+) '))
  if not ends or ends <= now then
    dropped = dropped + redis.call('HDEL', locks, found[2][i])
  end
end
return { found[1], dropped }
