-- Add a task in the place of one that has ended, and mark that one with it.
-- KEYS  stream index records
-- ARGV  task id, its message as read, the same with the mark, new task id, new message
-- Returns  "ok", "missing", "changed" (read again), "taken" (the new id), or the state that does
--          not allow it ("under way": waiting or active)
-- Invariant  both or neither, so a repeated call finds the mark and adds nothing
local place = redis.call('HGET', KEYS[2], ARGV[1])
if not place then return 'missing' end
if string.find(place, '^%d+%-%d+$') then return 'under way' end
if place ~= 'archived' and place ~= 'quarantined' and place ~= 'completed' then return place end
if redis.call('HGET', KEYS[3], ARGV[1]) ~= ARGV[2] then return 'changed' end
if redis.call('HEXISTS', KEYS[2], ARGV[4]) == 1 then return 'taken' end
redis.call('HSET', KEYS[2], ARGV[4], redis.call('XADD', KEYS[1], '*', 'data', ARGV[5]))
redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
return 'ok'
