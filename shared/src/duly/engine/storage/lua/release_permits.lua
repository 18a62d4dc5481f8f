-- Release permits of one kind, and let as many parked tasks wait again as permits are free.
-- KEYS  stream index scheduled records tries limits history permits parked
-- ARGV  group, kind, most (tasks to wake)
-- ROWS  released: stream_id (of the entry whose permit is released)
-- Returns  how many wait again
-- Invariant  what was moved, run or deleted since it was parked stays as it is
-- Uses  is_pending append reindex whole_number wrong_type
local wrong = wrong_type({ [index] = true, [records] = true, [tries] = true },
  { [scheduled] = true }, { [stream] = true })
if wrong then return wrong end
for at = FIRST, #ARGV, RELEASED_SIZE do
  redis.call('ZREM', permits, ARGV[at + RELEASED_STREAM_ID])
end
if redis.call('EXISTS', parked) == 0 then return 0 end
local limit = whole_number(redis.call('HGET', limits, kind .. ':running') or '0') or most
for _, stream_id in ipairs(redis.call('ZRANGE', permits, 0, -1)) do
  if not is_pending(stream, group, stream_id) then redis.call('ZREM', permits, stream_id) end
end
local left = math.min(most, limit - redis.call('ZCARD', permits))
local woken = 0
-- A script that has deleted may add, however full the broker is.
redis.call('ZREM', parked, '')
-- Some parked tasks may have gone elsewhere: they are passed over, not for ever in one script.
for _ = 1, left + 500 do
  if woken >= left then break end
  local head = redis.call('ZRANGE', parked, 0, 0, 'WITHSCORES')
  if not head[1] then break end
  local id = head[1]
  local due, data = redis.call('ZSCORE', scheduled, id), redis.call('HGET', records, id)
  if due and data and tonumber(due) == tonumber(head[2]) then
    local tries_text = redis.call('HGET', tries, id)
    reindex(index, history, id, append(stream, data, tries_text), data)
    redis.call('ZREM', scheduled, id)
    redis.call('HDEL', records, id)
    if tries_text then redis.call('HDEL', tries, id) end
    woken = woken + 1
  end
  redis.call('ZREM', parked, id)
end
return woken
