-- Put what a client begins into an outbox, whole.
-- KEYS  outbox
-- ARGV  none
-- ROWS  successor: queue, what (task join arrive), join, number, id, data, due_ms,
--       delay_ms (0: due_ms counts), lock (digest; "": none), lock_ttl_ms
-- Returns  how many
-- Invariant  what belongs together is in the outbox together, in its order
-- Uses  outbox_put
for at = FIRST, #ARGV, SUCCESSOR_SIZE do
  outbox_put(outbox, unpack(ARGV, at, at + SUCCESSOR_SIZE - 1))
end
return #ARGV / SUCCESSOR_SIZE
