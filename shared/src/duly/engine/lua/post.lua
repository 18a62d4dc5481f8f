-- Put what a client begins into an outbox, whole.
-- KEYS  outbox
-- ARGV  per successor: its queue, what (task join arrive), join id, number, task id, data,
--       due-ms, delay-ms, lock digest, lock-ms
-- Returns  how many
-- Invariant  what belongs together is in the outbox together, in its order
for b = 1, #ARGV, 10 do
  redis.call('XADD', KEYS[1], '*', 'queue', ARGV[b], 'what', ARGV[b + 1], 'join', ARGV[b + 2],
    'number', ARGV[b + 3], 'id', ARGV[b + 4], 'data', ARGV[b + 5], 'due', ARGV[b + 6],
    'delay', ARGV[b + 7], 'lock', ARGV[b + 8], 'lock-ms', ARGV[b + 9])
end
return #ARGV / 10
