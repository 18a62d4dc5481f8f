-- Claim one slot of a schedule entry for one queue, whichever queues other replicas have it in.
-- KEYS  claim
-- ARGV  now_ms (0: the broker's clock), queue, slot_ms, next_ms (the slot after that)
-- Returns  now-ms, answer (claimed; or taken, early, late: nothing was done), the last slot-ms
--          claimed for another queue (-1: none)
-- Invariant  a slot is one queue's only; a claim that is repeated for the same queue succeeds, so
--            a replica that dies before tick.lua leaves the slot to the others
-- Uses  clock believed
local now = clock(now_ms)
if slot_ms > now then return { now, 'early', '-1' } end
if next_ms <= now then return { now, 'late', '-1' } end
local fields = redis.call('HMGET', claim, 'slot', 'queue', 'elsewhere')
local last, owner = believed(fields[1], now, slot_ms, next_ms), fields[2]
local elsewhere = believed(fields[3], now, slot_ms, next_ms)
if last > slot_ms or last == slot_ms and owner ~= queue then
  return { now, 'taken', '-1' }
end
if last < slot_ms then
  if last >= 0 and owner ~= queue then elsewhere = last end
  redis.call('HSET', claim, 'slot', string.format('%.0f', slot_ms), 'queue', queue,
    'elsewhere', string.format('%.0f', elsewhere))
  redis.call('PEXPIRE', claim, 2592000000)
end
return { now, 'claimed', string.format('%.0f', elsewhere) }
