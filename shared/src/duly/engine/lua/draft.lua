-- Keep what handlers call their result so far: the last word of tasks that still run.
-- KEYS  index results
-- ARGV  per task: entry id, task id, result as JSON
-- Returns  the entry ids that were refused: other servers have these tasks, or they have ended
-- Invariant  only what the index names by this very entry is written; finish.lua removes it
local refused = {}
for a = 1, #ARGV, 3 do
  if redis.call('HGET', KEYS[1], ARGV[a + 1]) == ARGV[a] then
    redis.call('HSET', KEYS[2], ARGV[a + 1], ARGV[a + 2])
  else
    refused[#refused + 1] = ARGV[a]
  end
end
return refused
