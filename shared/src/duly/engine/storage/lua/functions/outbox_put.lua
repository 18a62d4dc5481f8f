-- Put a successor into the outbox.
-- Takes  key of the outbox, the successor's queue, what (task join arrive), join, number, task id,
--        data, due-ms, delay-ms, lock digest, lock-ms
-- Returns  nothing
local function outbox_put(outbox, queue, what, join, number, id, data, due_ms, delay_ms, lock, ttl_ms)
  redis.call('XADD', outbox, '*', 'queue', queue, 'what', what, 'join', join, 'number', number,
    'id', id, 'data', data, 'due', due_ms, 'delay', delay_ms, 'lock', lock, 'lock-ms', ttl_ms)
end
