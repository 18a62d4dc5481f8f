-- Ask the server that runs a task to stop it; a heartbeat, sent at once, tells the server.
-- KEYS  stream index cancels
-- ARGV  group, id, outcome (archived dropped retry), control (channel)
-- Returns  "ok", "missing", or the state in which there is nothing to cancel
-- Invariant  only active tasks are cancelled; settling a task removes the request
-- Uses  is_pending
local place = redis.call('HGET', index, id)
if not place then return 'missing' end
if not string.find(place, '-', 1, true) then return place end
if not is_pending(stream, group, place) then return 'waiting' end
redis.call('HSET', cancels, id, outcome)
redis.pcall('PUBLISH', control, 'cancel')
return 'ok'
