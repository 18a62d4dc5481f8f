-- Tell which of several queues have a field in one of their hashes: one call for many queues.
-- KEYS  hash. This for each queue
-- ARGV  field
-- Returns  for each queue 1: it has it, 0: it has not, or nil when its hash cannot be read
-- Invariant  nothing is changed
local answers = {}
for at = 0, #KEYS - 1, KEYS_SIZE do
  local read, answer = pcall(redis.call, 'HEXISTS', KEYS[at + KEY_HASH], field)
  answers[#answers + 1] = read and answer
end
return answers
