-- Read tasks of one state by their place in its set, with all that is kept of them.
-- KEYS  set records tries history results
-- ARGV  first and last place, counted from 0; "1": the newest first
-- Returns  ids and scores in a row, then records, tries, histories, results (false: none)
-- Invariant  it changes nothing; all is of one moment, so a task that leaves is there whole or not
local range = ARGV[3] == '1' and 'ZREVRANGE' or 'ZRANGE'
local found, ids = redis.call(range, KEYS[1], ARGV[1], ARGV[2], 'WITHSCORES'), {}
for i = 1, #found, 2 do ids[#ids + 1] = found[i] end
if #ids == 0 then return {} end
local answer = { found }
for k = 2, 5 do answer[k] = redis.call('HMGET', KEYS[k], unpack(ids)) end
return answer
