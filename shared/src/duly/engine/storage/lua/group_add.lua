-- Add tasks to groups, where they wait to be merged into one.
-- KEYS  stream index locks records aggregating groups members claims
-- ARGV  now_ms (0: the broker's clock), max_length (most aggregating tasks)
-- ROWS  task: id, data, lock (digest; "": none), lock_ttl_ms, group, grace_ms,
--       delay_ms (0: none), max_size (of the group)
-- Returns  one item a task: 3 aggregating, -2 id conflict, -3 full, or the id that holds the lock
-- Invariant  a member is in its group by name and in `aggregating` by time, or in neither
-- Uses  clock lock_holder enter_group require_stream wrong_type
local now = clock(now_ms)
local missing = require_stream(stream)
if missing then return missing end
local hashes = { [index] = true, [records] = true, [claims] = true }
for at = FIRST, #ARGV, TASK_SIZE do
  if ARGV[at + TASK_LOCK] ~= '' then hashes[locks] = true end
end
local wrong = wrong_type(hashes, { [aggregating] = true, [groups] = true, [members] = true })
if wrong then return wrong end
local answers = {}
local keys = { aggregating = aggregating, groups = groups, members = members, claims = claims }

for at = FIRST, #ARGV, TASK_SIZE do
  local id, lock = ARGV[at + TASK_ID], ARGV[at + TASK_LOCK]
  local holder = lock_holder(locks, lock, now)
  if redis.call('HEXISTS', index, id) == 1 then
    answers[#answers + 1] = -2
  elseif redis.call('ZCARD', aggregating) >= max_length then
    answers[#answers + 1] = -3
  elseif holder then
    answers[#answers + 1] = holder
  else
    redis.call('HSET', index, id, 'aggregating')
    redis.call('HSET', records, id, ARGV[at + TASK_DATA])
    if lock ~= '' then
      local ends = string.format('%.0f', now + ARGV[at + TASK_LOCK_TTL_MS])
      redis.call('HSET', locks, lock, ends .. ' ' .. id)
    end
    enter_group(keys, now, id, ARGV[at + TASK_GROUP], tonumber(ARGV[at + TASK_GRACE_MS]),
      tonumber(ARGV[at + TASK_DELAY_MS]), tonumber(ARGV[at + TASK_MAX_SIZE]))
    answers[#answers + 1] = 3
  end
end
return answers
