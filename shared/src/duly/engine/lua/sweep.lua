-- Drop unique locks whose time is over, one part of the hash at a time.
-- KEYS  locks
-- ARGV  now-ms (0: the server's), cursor ("0": from the beginning), about how many to look at
-- Returns  cursor to go on with ("0": all have been looked at), how many were dropped
-- Uses  clock
local now = clock(ARGV[1])
local found = redis.call('HSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])
local dropped = 0
for i = 1, #found[2], 2 do
  local ends = tonumber(string.match(found[2][i + 1], '^(%d+) '))
  if not ends or ends <= now then
    dropped = dropped + redis.call('HDEL', KEYS[1], found[2][i])
  end
end
return { found[1], dropped }
