-- Ask the server that runs a task to stop it; it learns of it by its next heartbeat, at once.
-- KEYS  stream index cancels
-- ARGV  group, task id, outcome (archived dropped retry), control channel
-- Returns  "ok", "missing", or the state in which there is nothing to cancel
-- Invariant  only what is active is cancelled; the request goes when the task is settled
-- Uses  is_pending
local place = redis.call('HGET', KEYS[2], ARGV[2])
if not place then return 'missing' end
if not string.find(place, '-', 1, true) then return place end
if not is_pending(KEYS[1], ARGV[1], place) then return 'waiting' end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
redis.pcall('PUBLISH', ARGV[4], 'cancel')
return 'ok'
