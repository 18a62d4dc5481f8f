-- Claim one slot of a schedule entry and enqueue its task, in one step.
-- KEYS  stream index ticks tick-history
-- ARGV  now-ms (0: the server's), entry id, slot-ms, interval-ms, overlap (skip or allow),
--       task id, data, ticks kept
-- Returns  now-ms, outcome (enqueued skipped paused taken early late), task id
-- Invariant  slots of an entry only grow, so any number of replicas claim each one once
local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local entry, slot, interval = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if slot > now then return { now, 'early', '' } end
if slot + interval <= now then return { now, 'late', '' } end
local last_slot, last_id
local last = redis.call('HGET', KEYS[3], entry)
if last then
  last_slot, last_id = string.match(last, '^(%d+) (.*)$')
  last_slot = tonumber(last_slot)
end
if last_slot and last_slot >= slot then return { now, 'taken', last_id } end

local function record(at, outcome, id)
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[8], '*', 'slot', string.format('%.0f', at),
    'outcome', outcome, 'task', id)
end

if last_slot then
  local missed = math.floor((slot - last_slot) / interval) - 1
  if missed > 0 then
    redis.call('HINCRBY', KEYS[3], entry .. ':missed', missed)
    for i = math.min(missed, 100), 1, -1 do
      record(slot - i * interval, 'missed', '')
    end
  end
end

local outcome, id = 'enqueued', ARGV[6]
if redis.call('HEXISTS', KEYS[3], entry .. ':paused-since') == 1 then
  outcome, id = 'paused', last_id or ''
elseif ARGV[5] == 'skip' and last_id then
  local place = redis.call('HGET', KEYS[2], last_id)
  if place and place ~= 'archived' and place ~= 'completed' and place ~= 'quarantined' then
    outcome, id = 'skipped', last_id
  end
end
-- Whoever enqueued a task under the tick's id has done what the tick would do.
if outcome == 'enqueued' and redis.call('HEXISTS', KEYS[2], id) == 1 then outcome = 'skipped' end
if outcome == 'enqueued' then
  local new = redis.call('XADD', KEYS[1], '*', 'data', ARGV[7])
  redis.call('HSET', KEYS[2], id, new)
end
redis.call('HSET', KEYS[3], entry, string.format('%.0f', slot) .. ' ' .. id)
redis.call('HINCRBY', KEYS[3], entry .. ':' .. outcome, 1)
record(slot, outcome, id)
return { now, outcome, id }
