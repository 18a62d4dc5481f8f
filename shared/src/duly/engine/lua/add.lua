-- Add tasks: to the stream when due, else to the scheduled set.
-- KEYS  stream index scheduled locks records
-- ARGV  now-ms (0: the server's), max-length, mode ("all": all or none, "each": what can be),
--       control channel (told when a task is due so soon that no heartbeat would see it in time),
--       shape ("plain": all are due now and none has a lock; "full"), then n ids, n data,
--       and when full n due-ms (0: now), n lock-digests ("": none), n lock-ttl-ms
-- Returns  one item a task: 1 waiting, 2 scheduled, -2 id conflict, -3 queue full,
--          0 not added because another of the batch was refused, or the id that holds the lock
-- Invariant  a task id is in the index from here until it is gone, in one place only
-- Uses  clock lock_holder
local full = ARGV[5] == 'full'
local n = (#ARGV - 5) / (full and 5 or 2)
local id, data, due, lock, ttl = 5, 5 + n, 5 + 2 * n, 5 + 3 * n, 5 + 4 * n
local now = full and clock(ARGV[1])
local room = tonumber(ARGV[2]) - redis.call('XLEN', KEYS[1])
local taken = redis.call('HMGET', KEYS[2], unpack(ARGV, id + 1, id + n))
local answers, refused, seen, locked = {}, false, {}, {}

for i = 1, n do
  local name, answer = ARGV[id + i], 1
  if full and tonumber(ARGV[due + i]) > now then answer = 2 end
  if taken[i] or seen[name] then
    answer = -2
  elseif answer == 1 and room < 1 then
    answer = -3
  elseif full and ARGV[lock + i] ~= '' then
    answer = lock_holder(KEYS[4], ARGV[lock + i], now) or locked[ARGV[lock + i]] or answer
  end
  if type(answer) == 'string' or answer < 0 then
    refused = true
  else
    seen[name] = true
    if full and ARGV[lock + i] ~= '' then locked[ARGV[lock + i]] = name end
    if answer == 1 then room = room - 1 end
  end
  answers[i] = answer
end

if refused and ARGV[3] == 'all' then
  for i = 1, n do
    if type(answers[i]) == 'number' and answers[i] > 0 then answers[i] = 0 end
  end
  return answers
end

local places, last, soon = {}, 0, false
for i = 1, n do
  local answer, name = answers[i], ARGV[id + i]
  if answer == 1 or answer == 2 then
    places[last + 1] = name
    if answer == 1 then
      places[last + 2] = redis.call('XADD', KEYS[1], '*', 'data', ARGV[data + i])
    else
      redis.call('ZADD', KEYS[3], ARGV[due + i], name)
      redis.call('HSET', KEYS[5], name, ARGV[data + i])
      places[last + 2] = 'scheduled'
      soon = soon or tonumber(ARGV[due + i]) < now + 5000
    end
    last = last + 2
    if full and ARGV[lock + i] ~= '' then
      local held = string.format('%.0f', now + ARGV[ttl + i]) .. ' ' .. name
      redis.call('HSET', KEYS[4], ARGV[lock + i], held)
    end
  end
end
if last > 0 then redis.call('HSET', KEYS[2], unpack(places)) end
-- A user without rights to the channel only loses immediacy, so errors are passed over.
if soon then redis.pcall('PUBLISH', ARGV[4], 'due') end
return answers
