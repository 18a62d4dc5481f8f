-- Put a successor into the outbox.
-- Takes  key of the outbox, where its ten parts begin in ARGV: its queue, what, join id, number,
--        task id, data, due-ms, delay-ms, lock digest, lock-ms
-- Returns  nothing
local function dispatch(outbox, at)
  redis.call('XADD', outbox, '*', 'queue', ARGV[at], 'what', ARGV[at + 1], 'join', ARGV[at + 2],
    'number', ARGV[at + 3], 'id', ARGV[at + 4], 'data', ARGV[at + 5], 'due', ARGV[at + 6],
    'delay', ARGV[at + 7], 'lock', ARGV[at + 8], 'lock-ms', ARGV[at + 9])
end
