-- Claim one slot of a schedule entry and enqueue its task, in one step; see to what was missed.
-- KEYS  stream index ticks tick-history
-- ARGV  now-ms (0: the server's), group, entry id, slot-ms, next slot-ms,
--       grace-ms (later than this the slot is missed; 0: it may be claimed as long as it lasts),
--       claim-ms (the slot that the caller believes was claimed last; -1: none),
--       overlap (skip, queue_one or allow), catch-up (most missed slots to make up for),
--       held (1: the timetable says that the entry is paused), ticks kept, history-ms (oldest kept),
--       slots between the claim and this one,
--       then the newest of those slots, oldest first, and at last this one: slot-ms, task id, data
-- Returns  now-ms, answer (claimed; or taken, moved, early, late: nothing was done),
--          last claimed slot-ms (-1: none), its task id, slots now recorded as missed,
--          then what else was recorded: slot-ms, outcome (enqueued, caught_up, skipped, paused),
--          task id
-- Invariant  slots of an entry only grow, so any number of replicas claim each one once
-- Uses  clock
local now = clock(ARGV[1])
local group, entry, slot, grace = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[6])
local overlap = ARGV[8]
if slot > now then return { now, 'early', '-1', '', 0 } end
if tonumber(ARGV[5]) <= now then return { now, 'late', '-1', '', 0 } end
local claim, last_id = -1, ''
local at, id = string.match(redis.call('HGET', KEYS[3], entry) or '', '^(%d+) (.*)$')
-- A claim is never of the future: what is a day ahead of now was not written here.
if at and tonumber(at) < now + 86400000 then claim, last_id = tonumber(at), id end
local claim_text = string.format('%.0f', claim)
if claim >= slot then return { now, 'taken', claim_text, last_id, 0 } end
if claim ~= tonumber(ARGV[7]) then return { now, 'moved', claim_text, last_id, 0 } end

local answer = { now, 'claimed', ARGV[4], '', 0 }
local function record(at_slot, outcome, task)
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[11], '*', 'slot', at_slot, 'outcome', outcome,
    'task', task)
  if outcome ~= 'missed' then
    redis.call('HINCRBY', KEYS[3], entry .. ':' .. outcome, 1)
    for _, part in ipairs({ at_slot, outcome, task }) do
      answer[#answer + 1] = part
    end
  end
end

-- Where a task is that is still on its way; nil once it has ended.
local function place_of(task)
  local place = task ~= '' and redis.call('HGET', KEYS[2], task)
  if place and place ~= 'archived' and place ~= 'completed' and place ~= 'quarantined' then
    return place
  end
  return nil
end

local before_id = ''
if overlap == 'queue_one' then
  before_id = redis.call('HGET', KEYS[3], entry .. ':before') or ''
end
local function may_enqueue()
  if overlap == 'allow' then return true end
  local last_place, before_place = place_of(last_id), place_of(before_id)
  local place = last_place or before_place
  if not place then return true end
  local one_runs = overlap == 'queue_one' and not (last_place and before_place)
  -- Without its group nothing has been read: the error is an empty list, too.
  return one_runs and string.find(place, '-', 1, true) ~= nil
    and #redis.pcall('XPENDING', KEYS[1], group, place, place, 1) > 0
end

local function enqueue(row, outcome)
  local at_slot, task, data = ARGV[11 + 3 * row], ARGV[12 + 3 * row], ARGV[13 + 3 * row]
  if not may_enqueue() then return record(at_slot, 'skipped', last_id) end
  if overlap == 'queue_one' and place_of(last_id) then
    before_id = last_id
    redis.call('HSET', KEYS[3], entry .. ':before', before_id)
  end
  last_id = task
  -- Whoever enqueued a task under the tick's id has done what the tick would do.
  if redis.call('HEXISTS', KEYS[2], task) == 1 then return record(at_slot, 'skipped', task) end
  redis.call('HSET', KEYS[2], task, redis.call('XADD', KEYS[1], '*', 'data', data))
  return record(at_slot, outcome, task)
end

local rows = (#ARGV - 13) / 3
local late = grace > 0 and now >= slot + grace
-- An entry that is new has missed nothing: this is where it begins.
local due = not (late and claim < 0)
local newest = (late and due) and rows or rows - 1
local missed = tonumber(ARGV[13]) + newest - rows + 1
local paused = ARGV[10] == '1' or redis.call('HEXISTS', KEYS[3], entry .. ':paused-since') == 1
local runs = paused and 0 or math.min(tonumber(ARGV[9]), missed, newest)
for row = 1, newest - runs do
  record(ARGV[11 + 3 * row], 'missed', '')
end
for row = newest - runs + 1, newest do
  enqueue(row, 'caught_up')
end
if not late and paused then
  record(ARGV[4], 'paused', last_id)
elseif not late then
  enqueue(rows, 'enqueued')
end
if missed > runs then redis.call('HINCRBY', KEYS[3], entry .. ':missed', missed - runs) end
answer[4], answer[5] = last_id, missed - runs
redis.call('HSET', KEYS[3], entry, ARGV[4] .. ' ' .. last_id)
redis.call('XTRIM', KEYS[4], 'MINID', string.format('%.0f', math.max(0, now - tonumber(ARGV[12]))))
redis.call('PERSIST', KEYS[4])
return answer
