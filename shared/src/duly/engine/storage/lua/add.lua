-- Add tasks: to the stream when they are due, else to the scheduled set.
-- KEYS  stream index scheduled locks records
-- ARGV  now_ms (0: the broker's clock), max_length (most entries of the stream),
--       mode (all: all or none; each: those that can be added),
--       control (channel, published to when a task is due before the next heartbeat)
-- COLUMNS  id, data, due_ms (0: now), lock (digest; "": none), lock_ttl_ms. The first two alone:
--          all are due now and none has a lock.
-- Returns  one item a task: 1 waiting, 2 scheduled, -2 id conflict, -3 queue full,
--          0 not added because another of the batch was refused, or the id that holds the lock
-- Invariant  a task id is in the index from here until the task is gone, in one place only
-- Uses  clock lock_holder require_stream wrong_type
local full = width > 2
local now = full and clock(now_ms)
local room = max_length - redis.call('XLEN', stream)
local missing = room == max_length and require_stream(stream)
if missing then return missing end
local taken = redis.call('HMGET', index, unpack(ARGV, at_id + 1, at_id + n))
local answers, refused, seen, locked, later = {}, false, {}, {}, false

for i = 1, n do
  local id, answer = ARGV[at_id + i], 1
  local lock = full and ARGV[at_lock + i] or ''
  if full and tonumber(ARGV[at_due_ms + i]) > now then
    answer, later = 2, true
  end
  if taken[i] or seen[id] then
    answer = -2
  elseif answer == 1 and room < 1 then
    answer = -3
  elseif lock ~= '' then
    answer = lock_holder(locks, lock, now) or locked[lock] or answer
  end
  if type(answer) == 'string' or answer < 0 then
    refused = true
  else
    seen[id] = true
    if lock ~= '' then locked[lock] = id end
    if answer == 1 then room = room - 1 end
  end
  answers[i] = answer
end

if refused and mode == 'all' then
  for i = 1, n do
    if type(answers[i]) == 'number' and answers[i] > 0 then answers[i] = 0 end
  end
  return answers
end

local wrong = later and wrong_type({ [records] = true }, { [scheduled] = true })
if wrong then return wrong end
local places, last, soon = {}, 0, false
for i = 1, n do
  local answer, id = answers[i], ARGV[at_id + i]
  if answer == 1 or answer == 2 then
    places[last + 1] = id
    if answer == 1 then
      places[last + 2] = redis.call('XADD', stream, '*', 'data', ARGV[at_data + i])
    else
      redis.call('ZADD', scheduled, ARGV[at_due_ms + i], id)
      redis.call('HSET', records, id, ARGV[at_data + i])
      places[last + 2] = 'scheduled'
      soon = soon or tonumber(ARGV[at_due_ms + i]) < now + 5000
    end
    last = last + 2
    if full and ARGV[at_lock + i] ~= '' then
      local held = string.format('%.0f', now + ARGV[at_lock_ttl_ms + i]) .. ' ' .. id
      redis.call('HSET', locks, ARGV[at_lock + i], held)
    end
  end
end
if last > 0 then redis.call('HSET', index, unpack(places)) end
-- A user without rights to the channel only loses immediacy, so errors are ignored.
if soon then redis.pcall('PUBLISH', control, 'due') end
return answers
