-- Take permits of one kind back, and let parked tasks wait again, as many as there are free ones.
-- KEYS  stream index scheduled records tries limits permits parked history
-- ARGV  group, kind, most tasks to wake, then the entries whose permits are given back
-- Returns  how many wait again
-- Invariant  what was moved, run or deleted since it was parked is left as it is
-- Uses  is_pending append reindex
local group, kind = ARGV[1], ARGV[2]
for i = 4, #ARGV do redis.call('ZREM', KEYS[7], ARGV[i]) end
if redis.call('EXISTS', KEYS[8]) == 0 then return 0 end
local limit = tonumber(redis.call('HGET', KEYS[6], kind .. ':running') or 0)
for _, entry in ipairs(redis.call('ZRANGE', KEYS[7], 0, -1)) do
  if not is_pending(KEYS[1], group, entry) then redis.call('ZREM', KEYS[7], entry) end
end
local left = math.min(tonumber(ARGV[3]), limit - redis.call('ZCARD', KEYS[7]))
local woken = 0
for _ = 1, 200 do
  if woken >= left then break end
  local head = redis.call('ZRANGE', KEYS[8], 0, 0, 'WITHSCORES')
  if not head[1] then break end
  local id = head[1]
  redis.call('ZREM', KEYS[8], id)
  local due, data = redis.call('ZSCORE', KEYS[3], id), redis.call('HGET', KEYS[4], id)
  if due and data and tonumber(due) == tonumber(head[2]) then
    local tries = redis.call('HGET', KEYS[5], id)
    if tries then redis.call('HDEL', KEYS[5], id) end
    redis.call('ZREM', KEYS[3], id)
    redis.call('HDEL', KEYS[4], id)
    reindex(KEYS[2], KEYS[9], id, append(KEYS[1], data, tries), data)
    woken = woken + 1
  end
end
return woken
