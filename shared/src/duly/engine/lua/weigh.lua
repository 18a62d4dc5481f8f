-- Weigh a queue: about how many bytes its keys take, by a sample of each.
-- KEYS  the queue's fixed keys, in whatever order
-- ARGV  samples: elements of each key that are weighed
-- Returns  the bytes; -1 when the broker's user may not ask
-- Invariant  nothing is changed
local sum = 0
for i = 1, #KEYS do
  local size = redis.pcall('MEMORY', 'USAGE', KEYS[i], 'SAMPLES', ARGV[1])
  if type(size) == 'table' then return -1 end
  if size then sum = sum + size end
end
return sum
