-- Give a server a command; a heartbeat, sent at once, tells the server.
-- KEYS  leases commands
-- ARGV  now_ms (0: the broker's clock), server, command (quiet resume stop), control (channel)
-- Returns  1, or 0 when no such server lives
-- Invariant  of several commands the last one counts, by the broker's clock
-- Uses  clock
local now = clock(now_ms)
local lease = redis.call('ZSCORE', leases, server)
if not lease or tonumber(lease) <= now then return 0 end
local last = redis.call('HGET', commands, server)
local instant = math.max(now, last and tonumber(string.match(last, ' (%d+)$') or 0) + 1 or 0)
redis.call('HSET', commands, server, command .. ' ' .. string.format('%.0f', instant))
redis.pcall('PUBLISH', control, 'command')
return 1
