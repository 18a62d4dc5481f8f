-- A server says good-bye: its lease, description and consumer go, unless it still holds tasks.
-- KEYS  stream leases servers commands
-- ARGV  group, server id
-- Returns  how many tasks it still holds; then its lease stays and runs out, and they are reaped
local held = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])
if #held == 0 then
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
  redis.call('ZREM', KEYS[2], ARGV[2])
  redis.call('HDEL', KEYS[3], ARGV[2])
  redis.call('HDEL', KEYS[4], ARGV[2])
end
return #held
