-- Renew a server's lease and tell it how its queue stands.
-- KEYS  leases servers paused scheduled retry cancels kinds commands
-- ARGV  now-ms (0: the server's), server id, lease-ms, description as JSON,
--       then the kinds of job that the server has handlers for
-- Returns  now-ms, 1 if the lease had not been taken away, 1 if paused, 1 if another lease has
--          run out, ms until a scheduled or retry task is due (-1: none), task ids to cancel each
--          followed by the outcome it is to have, the last command to this server ("": none)
-- Invariant  leases go by the broker's clock only
-- Uses  clock due_in
local now = clock(ARGV[1])
local known = redis.call('ZSCORE', KEYS[1], ARGV[2])
-- A broker out of memory refuses what may take memory, but only as a script's first write. A
-- lease must be renewed all the same: the reaper, whose first write takes none, goes on.
redis.call('ZREM', KEYS[1], '')
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[3]), ARGV[2])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[4])
for i = 5, #ARGV do
  redis.call('ZADD', KEYS[7], 'GT', string.format('%.0f', now + ARGV[3]), ARGV[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[7], '-inf', now)
local expired = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)
return { now, known and tonumber(known) > 0 and 1 or 0, redis.call('EXISTS', KEYS[3]), #expired,
  due_in(now, KEYS[4], KEYS[5]), redis.call('HGETALL', KEYS[6]),
  redis.call('HGET', KEYS[8], ARGV[2]) or '' }
