-- Tell a server what to do; it learns of it by its next heartbeat, which comes at once.
-- KEYS  leases commands
-- ARGV  now-ms (0: the server's), server id, command (quiet wake stop), control channel
-- Returns  1, or 0 when no such server lives
-- Invariant  of several commands the last one counts, by the broker's clock
-- Uses  clock
local now = clock(ARGV[1])
local lease = redis.call('ZSCORE', KEYS[1], ARGV[2])
if not lease or tonumber(lease) <= now then return 0 end
local last = redis.call('HGET', KEYS[2], ARGV[2])
local at = math.max(now, last and tonumber(string.match(last, ' (%d+)$') or 0) + 1 or 0)
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3] .. ' ' .. string.format('%.0f', at))
redis.pcall('PUBLISH', ARGV[4], 'command')
return 1
