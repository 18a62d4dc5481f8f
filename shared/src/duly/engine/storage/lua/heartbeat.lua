-- Renew a server's lease and report the state of its queue.
-- KEYS  leases servers paused scheduled retry cancels kinds commands pulse
-- ARGV  now_ms (0: the broker's clock), server, lease_ms, description (JSON),
--       begins (1: begin a lease where there is none; 0: only renew one)
-- ROWS  known: kind (the server has a handler for it)
-- Returns  now-ms, 1 if the lease had not been taken away, 1 if paused, 1 if another lease has
--          expired, ms until a scheduled or retry task is due (-1: none), task ids to cancel each
--          followed by its outcome, the last command to this server ("": none)
-- Invariant  leases go by the broker's clock only, and expire only while the queue has a pulse; they
--            are renewed whatever is wrong with the other keys. One that was taken away begins only
--            once its server has learned that: a heartbeat may arrive late, and nobody get its reply
-- Uses  clock due_in keep_pulse
local now = clock(now_ms)
local lease = redis.call('ZSCORE', leases, server)
local ends = string.format('%.0f', now + lease_ms)
keep_pulse(pulse, leases, kinds, now, lease_ms)
local stands = lease and tonumber(lease) > 0
if stands or begins == 1 then
  redis.call('ZADD', leases, ends, server)
  redis.pcall('HSET', servers, server, description)
  for at = FIRST, #ARGV, KNOWN_SIZE do redis.pcall('ZADD', kinds, 'GT', ends, ARGV[at + KNOWN_KIND]) end
end
redis.pcall('ZREMRANGEBYSCORE', kinds, '-inf', now)
local expired = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 1)
local asked, command = redis.pcall('HGETALL', cancels), redis.pcall('HGET', commands, server)
return { now, stands and 1 or 0, redis.call('EXISTS', paused), #expired,
  due_in(now, scheduled, retry), asked.err and {} or asked,
  type(command) == 'string' and command or '' }
