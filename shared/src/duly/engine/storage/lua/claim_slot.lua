-- Claim one slot of a schedule entry for one queue, whichever queues other replicas have it in.
-- KEYS  claim
-- ARGV  now_ms (0: the broker's clock), queue, slot_ms, next_ms (the slot after that),
--       cadence (what the slot is one of)
-- Returns  now-ms, answer (claimed; or taken, early, late: nothing was done), the last slot-ms
--          claimed for another queue (-1: none), its cadence ("": nobody knows)
-- Invariant  a slot is one queue's only, also after the clock went back; a claim that is repeated
--            for the same queue succeeds, so a replica that dies before tick.lua leaves the slot to
--            the others
-- Uses  clock believed cadence_at is_listed with_newest
local now = clock(now_ms)
if slot_ms > now then return { now, 'early', '-1', '' } end
if next_ms <= now then return { now, 'late', '-1', '' } end
local fields = redis.call('HMGET', claim, 'slot', 'queue', 'elsewhere', 'earlier', 'cadence',
  'elsewhere-cadence')
local last, owner = believed(fields[1], now, slot_ms, next_ms), fields[2]
local elsewhere = believed(fields[3], now, slot_ms, next_ms)
local its_cadence = cadence_at(fields[6], fields[3]) or ''
local slot_text, earlier = string.format('%.0f', slot_ms), fields[4] or ''
local mine = is_listed(earlier, slot_text .. ':' .. queue)
if last > slot_ms or last == slot_ms and owner ~= queue
  or not mine and string.find(' ' .. earlier, ' ' .. slot_text .. ':', 1, true) then
  return { now, 'taken', '-1', '' }
end
if last < slot_ms and not mine then
  if last >= 0 and owner ~= queue then
    elsewhere, its_cadence = last, cadence_at(fields[5], fields[1]) or ''
  end
  local elsewhere_text = string.format('%.0f', elsewhere)
  if fields[1] and owner then earlier = with_newest(earlier, fields[1] .. ':' .. owner, now) end
  redis.call('HSET', claim, 'slot', slot_text, 'queue', queue, 'elsewhere', elsewhere_text,
    'earlier', earlier, 'cadence', slot_text .. ' ' .. cadence,
    'elsewhere-cadence', elsewhere_text .. ' ' .. its_cadence)
  redis.call('PEXPIRE', claim, 2592000000)
end
return { now, 'claimed', string.format('%.0f', elsewhere), its_cadence }
