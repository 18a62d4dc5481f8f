-- Deregister a server: its lease, description and consumer go, unless it still holds tasks.
-- KEYS  stream leases servers commands
-- ARGV  group, server
-- Returns  how many tasks it still holds (1: at least one); then its lease stays and runs out, and
--          the tasks are reaped
-- Invariant  a consumer with pending tasks is never deleted
-- Uses  forget
local held = redis.call('XPENDING', stream, group, '-', '+', 1, server)
if #held == 0 then
  redis.call('XGROUP', 'DELCONSUMER', stream, group, server)
  redis.call('ZREM', leases, server)
  forget({ servers, commands }, server)
end
return #held
