-- Keep partial results of tasks that still run; the last one of each wins.
-- KEYS  index results
-- ARGV  none
-- ROWS  task: stream_id, id, result (JSON)
-- Returns  the stream ids that were refused: other servers have these tasks, or they have ended
-- Invariant  only what the index names by this very entry is written; complete.lua removes it
local refused = {}
for at = FIRST, #ARGV, TASK_SIZE do
  local stream_id, id = ARGV[at + TASK_STREAM_ID], ARGV[at + TASK_ID]
  if redis.call('HGET', index, id) == stream_id then
    redis.call('HSET', results, id, ARGV[at + TASK_RESULT])
  else
    refused[#refused + 1] = stream_id
  end
end
return refused
