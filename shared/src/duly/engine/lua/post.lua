-- Put what a client begins into an outbox, whole.
-- KEYS  outbox
-- ARGV  per successor: its queue, what (task join arrive), join id, number, task id, data,
--       due-ms, delay-ms, lock digest, lock-ms
-- Returns  how many
-- Invariant  what belongs together is in the outbox together, in its order
-- Uses  dispatch
for b = 1, #ARGV, 10 do
  dispatch(KEYS[1], b)
end
return #ARGV / 10
