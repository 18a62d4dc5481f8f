-- Enqueue the task of a schedule entry now, beside its ticks, and record it among them.
-- KEYS  stream index ticks tick-history
-- ARGV  now-ms (0: the server's), entry id, task id, data, ticks kept
-- Returns  1, or 0 when there is a task of this id
-- Invariant  a trigger that is repeated with the same task id enqueues nothing more
-- Uses  clock
local now = clock(ARGV[1])
if redis.call('HEXISTS', KEYS[2], ARGV[3]) == 1 then return 0 end
redis.call('HSET', KEYS[2], ARGV[3], redis.call('XADD', KEYS[1], '*', 'data', ARGV[4]))
redis.call('HINCRBY', KEYS[3], ARGV[2] .. ':triggered', 1)
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[5], '*', 'slot', string.format('%.0f', now),
  'outcome', 'triggered', 'task', ARGV[3])
return 1
