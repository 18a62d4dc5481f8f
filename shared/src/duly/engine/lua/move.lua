-- Move what is due from scheduled and retry to the stream.
-- KEYS  stream index scheduled retry records tries quarantined
-- ARGV  now-ms (0: the server's), most tasks to move
-- Returns  how many moved, ms until the next is due (-1: none is scheduled)
-- Invariant  atomic and idempotent, so any number of processes may run it
local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local left, moved = tonumber(ARGV[2]), 0
for k = 3, 4 do
  local ids = redis.call('ZRANGEBYSCORE', KEYS[k], '-inf', now, 'LIMIT', 0, left)
  for i = 1, #ids do
    local id = ids[i]
    local data = redis.call('HGET', KEYS[5], id)
    local tries = redis.call('HGET', KEYS[6], id)
    redis.call('ZREM', KEYS[k], id)
    if data then
      local entry
      if tries then
        entry = redis.call('XADD', KEYS[1], '*', 'data', data, 'tries', tries)
        redis.call('HDEL', KEYS[6], id)
      else
        entry = redis.call('XADD', KEYS[1], '*', 'data', data)
      end
      redis.call('HDEL', KEYS[5], id)
      redis.call('HSET', KEYS[2], id, entry)
      moved = moved + 1
    else
      -- Somebody deleted the record by hand: keep the id where people look.
      redis.call('ZADD', KEYS[7], string.format('%.0f', now), id)
      redis.call('HSET', KEYS[2], id, 'quarantined')
    end
  end
  left = left - #ids
end
local wait = -1
for k = 3, 4 do
  local head = redis.call('ZRANGE', KEYS[k], 0, 0, 'WITHSCORES')
  if head[2] then
    local ms = math.max(0, tonumber(head[2]) - now)
    if wait < 0 or ms < wait then wait = ms end
  end
end
return { moved, wait }
