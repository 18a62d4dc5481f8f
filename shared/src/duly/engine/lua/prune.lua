-- Drop tasks that are past the bounds of a set, at most one batch of them.
-- KEYS  set index records tries history results totals
-- ARGV  now-ms (0: the server's), oldest age kept in ms (-1: any; 0: the score is the end),
--       most tasks kept (-1: any), batch, name of the count of drops ("": do not count)
-- Returns  how many were dropped; call again while it is a whole batch
-- Uses  clock
local now = clock(ARGV[1])
local age, most, batch = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local ids = {}
if age >= 0 then
  ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - age, 'LIMIT', 0, batch)
end
if most >= 0 and #ids < batch then
  local over = redis.call('ZCARD', KEYS[1]) - #ids - most
  if over > 0 then
    local more = redis.call('ZRANGE', KEYS[1], #ids, #ids + math.min(over, batch - #ids) - 1)
    for i = 1, #more do ids[#ids + 1] = more[i] end
  end
end
if #ids > 0 then
  redis.call('ZREM', KEYS[1], unpack(ids))
  for k = 2, 6 do redis.call('HDEL', KEYS[k], unpack(ids)) end
  if ARGV[5] ~= '' then redis.call('HINCRBY', KEYS[7], '-:' .. ARGV[5], #ids) end
end
return #ids
