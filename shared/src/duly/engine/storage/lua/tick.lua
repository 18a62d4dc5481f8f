-- Claim one slot of a schedule entry and enqueue its task in one step, and record what was missed.
-- KEYS  stream index ticks locks tick_history
-- ARGV  now_ms (0: the broker's clock), group, entry, slot_ms, next_ms (the slot after that),
--       grace_ms (later than this the slot is missed; 0: it may be claimed until the next),
--       claim_ms (the slot that the caller believes was claimed last; -1: none),
--       overlap (skip queue_one allow), catch_up (most missed slots to make up for),
--       held (1: the timetable says that the entry is paused), ticks_kept, ticks_kept_ms,
--       between (slots between the claim and this one),
--       elsewhere_ms (the last slot claimed for another queue, see claim_slot.lua; -1: none),
--       cadence (what the slot is one of), elsewhere_cadence ("": nobody knows)
-- ROWS  due: slot_ms, id, data, lock (digest; "": not unique), lock_ttl_ms. The newest of the slots between, oldest first, and at last this one.
-- Returns  now-ms, answer (claimed; or taken, moved, early, late: nothing was done),
--          last claimed slot-ms (-1: none), its task id, slots now recorded as missed,
--          then what else was recorded: slot-ms, outcome (enqueued, caught_up, skipped, paused),
--          task id
-- Invariant  slots of an entry only grow, and those that a clock shows again are known, so any
--            number of replicas claim each one once
-- Uses  clock believed cadence_at is_listed lock_holder record_tick require_stream take_lock with_newest wrong_type
local now = clock(now_ms)
local missing = require_stream(stream)
if missing then return missing end
if slot_ms > now then return { now, 'early', '-1', '', 0 } end
if next_ms <= now then return { now, 'late', '-1', '', 0 } end
local hashes = { [index] = true, [ticks] = true }
for row = FIRST, #ARGV, DUE_SIZE do
  if ARGV[row + DUE_LOCK] ~= '' then hashes[locks] = true end
end
local wrong = wrong_type(hashes, nil, { [stream] = true })
if wrong then return wrong end
local slot_text = string.format('%.0f', slot_ms)
local kept = redis.call('HMGET', ticks, entry, entry .. ':earlier', entry .. ':cadence', entry .. ':before')
local at, last_id = string.match(kept[1] or '', '^(%d+) (.*)$')
local claim, known = believed(at, now, slot_ms, next_ms), cadence_at(kept[3], at)
local earlier = kept[2] or ''
last_id = last_id or ''
if elsewhere_ms > claim then claim, known = elsewhere_ms, elsewhere_cadence end
local claim_text = string.format('%.0f', claim)
if claim >= slot_ms then return { now, 'taken', claim_text, last_id, 0 } end
local function keep()
  redis.call('HSET', ticks, entry, slot_text .. ' ' .. last_id, entry .. ':earlier',
    at and with_newest(earlier, at, now) or earlier, entry .. ':cadence', slot_text .. ' ' .. cadence)
end
if is_listed(earlier, slot_text) then
  -- Claimed before the clock went back, or while it was ahead. Now that has passed, once more.
  if claim >= 0 then keep() end
  return { now, 'taken', slot_text, last_id, 0 }
end
if claim ~= claim_ms then return { now, 'moved', claim_text, last_id, 0 } end

local answer = { now, 'claimed', slot_text, '', 0 }
local function record(slot, outcome, task)
  record_tick(tick_history, ticks, ticks_kept, entry, slot, outcome, task)
  if outcome == 'missed' then return end
  for _, part in ipairs({ slot, outcome, task }) do answer[#answer + 1] = part end
end

-- Where a task is that is still on its way; nil once it has ended.
local function place_of(task)
  local place = task ~= '' and redis.call('HGET', index, task)
  return place and not is_listed('archived completed quarantined', place) and place
end

local before_id = overlap == 'queue_one' and kept[4] or ''
local function may_enqueue()
  if overlap == 'allow' then return true end
  local last_place, before_place = place_of(last_id), place_of(before_id)
  local place = last_place or before_place
  if not place then return true end
  local one_runs = overlap == 'queue_one' and not (last_place and before_place)
  -- Without its group nothing has been read: the error is an empty list, too.
  return one_runs and string.find(place, '-', 1, true) ~= nil
    and #redis.pcall('XPENDING', stream, group, place, place, 1) > 0
end

local function enqueue(row, outcome)
  local slot, task, data = ARGV[row + DUE_SLOT_MS], ARGV[row + DUE_ID], ARGV[row + DUE_DATA]
  local lock, ttl_ms = ARGV[row + DUE_LOCK], ARGV[row + DUE_LOCK_TTL_MS]
  if not may_enqueue() then return record(slot, 'skipped', last_id) end
  local holder = lock_holder(locks, lock, now)
  if holder and holder ~= task then return record(slot, 'skipped', holder) end
  if overlap == 'queue_one' and place_of(last_id) then
    before_id = last_id
    redis.call('HSET', ticks, entry .. ':before', before_id)
  end
  last_id = task
  -- Whoever enqueued a task under the tick's id has done what the tick would do.
  if redis.call('HEXISTS', index, task) == 1 then return record(slot, 'skipped', task) end
  redis.call('HSET', index, task, redis.call('XADD', stream, '*', 'data', data))
  take_lock(locks, lock, task, now, ttl_ms)
  return record(slot, outcome, task)
end

local this = #ARGV - DUE_SIZE + 1
local late = grace_ms > 0 and now >= slot_ms + grace_ms
local paused = held == 1 or redis.call('HEXISTS', ticks, entry .. ':paused-since') == 1
-- An entry that is new, or that has another cadence now, has missed nothing: this is where it begins.
local begins = claim < 0 or (known or '') ~= '' and known ~= cadence
local missed, open = begins and 0 or between, {}
for row = FIRST, begins and 0 or this - 1, DUE_SIZE do
  if is_listed(earlier, ARGV[row + DUE_SLOT_MS]) then missed = missed - 1 else open[#open + 1] = row end
end
if late and not begins then open[#open + 1], missed = this, missed + 1 end
for place, row in ipairs(open) do
  if paused or place <= #open - catch_up or ARGV[row + DUE_DATA] == '' then
    record(ARGV[row + DUE_SLOT_MS], 'missed', '')
  else
    enqueue(row, 'caught_up')
    earlier, missed = with_newest(earlier, ARGV[row + DUE_SLOT_MS], now), missed - 1
  end
end
if not late then
  if paused then record(slot_text, 'paused', last_id) else enqueue(this, 'enqueued') end
end
if missed > 0 then redis.pcall('HINCRBY', ticks, entry .. ':missed', missed) end
answer[4], answer[5] = last_id, missed
keep()
redis.pcall('XTRIM', tick_history, 'MINID', string.format('%.0f', math.max(0, now - ticks_kept_ms)))
redis.call('PERSIST', tick_history)
return answer
