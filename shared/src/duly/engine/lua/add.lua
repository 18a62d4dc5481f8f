-- Add tasks: to the stream when due, else to the scheduled set.
-- KEYS  stream index scheduled locks records
-- ARGV  now-ms (0: the server's), max-length, mode ("all": all or none, "each": what can be),
--       control channel (told when a task is due so soon that no heartbeat would see it in time),
--       then per task: id, data, due-ms (0: now), lock-digest ("": none), lock-ttl-ms
-- Returns  one item a task: 1 waiting, 2 scheduled, -2 id conflict, -3 queue full,
--          0 not added because another of the batch was refused, or the id that holds the lock
-- Invariant  a task id is in the index from here until it is gone, in one place only
local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local room = tonumber(ARGV[2]) - redis.call('XLEN', KEYS[1])
local count = (#ARGV - 4) / 5
local ids, answers, refused = {}, {}, false
for i = 1, count do
  ids[i] = ARGV[5 * i]
end
local taken = redis.call('HMGET', KEYS[2], unpack(ids))
local seen, locked = {}, {}

for i = 1, count do
  local a = 5 * i
  local id, due, lock = ids[i], tonumber(ARGV[a + 2]), ARGV[a + 3]
  local answer = (due > now) and 2 or 1
  if taken[i] or seen[id] then
    answer = -2
  elseif answer == 1 and room < 1 then
    answer = -3
  elseif lock ~= '' then
    local held = redis.call('HGET', KEYS[4], lock)
    local holder
    if held then
      local ends, owner = string.match(held, '^(%d+) (.*)$')
      if ends and tonumber(ends) > now then holder = owner end
    end
    holder = holder or locked[lock]
    if holder then
      answer = holder
    end
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

if refused and ARGV[3] == 'all' then
  for i = 1, count do
    if type(answers[i]) == 'number' and answers[i] > 0 then answers[i] = 0 end
  end
  return answers
end

local places, soon = {}, false
for i = 1, count do
  local a = 5 * i
  local answer, id, data = answers[i], ids[i], ARGV[a + 1]
  if type(answer) == 'number' and answer > 0 then
    places[#places + 1] = id
    if answer == 1 then
      places[#places + 1] = redis.call('XADD', KEYS[1], '*', 'data', data)
    else
      redis.call('ZADD', KEYS[3], ARGV[a + 2], id)
      redis.call('HSET', KEYS[5], id, data)
      places[#places + 1] = 'scheduled'
      soon = soon or tonumber(ARGV[a + 2]) < now + 5000
    end
    if ARGV[a + 3] ~= '' then
      redis.call('HSET', KEYS[4], ARGV[a + 3], string.format('%.0f', now + ARGV[a + 4]) .. ' ' .. id)
    end
  end
end
if #places > 0 then
  redis.call('HSET', KEYS[2], unpack(places))
end
-- A user without rights to the channel only loses immediacy, so errors are passed over.
if soon then redis.pcall('PUBLISH', ARGV[4], 'due') end
return answers
