-- Move what is due from scheduled and retry to the stream, or to the group it belongs to.
-- KEYS  stream index scheduled retry records tries quarantined aggregating groups members claims
--       history
-- ARGV  now-ms (0: the server's), most tasks to move
-- Returns  how many moved, ms until the next is due (-1: none is scheduled)
-- Invariant  atomic and idempotent, so any number of processes may run it
-- Uses  clock join append reindex due_in
local now = clock(ARGV[1])
local keys = { aggregating = KEYS[8], groups = KEYS[9], members = KEYS[10], claims = KEYS[11] }

local function group_of(data, tries)
  if tries or not string.find(data, '"group":', 1, true) then return nil end
  local ok, message = pcall(cjson.decode, data)
  local labels = ok and type(message) == 'table' and message.labels
  local group = type(labels) == 'table' and labels.group
  if type(group) ~= 'table' or type(group[1]) ~= 'string' or #group[1] > 256 then return nil end
  for i = 2, 4 do
    if type(group[i]) ~= 'number' then return nil end
  end
  if string.find(group[1], '%c') then return nil end
  return group
end

local left, moved = tonumber(ARGV[2]), 0
for k = 3, 4 do
  local ids = redis.call('ZRANGEBYSCORE', KEYS[k], '-inf', now, 'LIMIT', 0, left)
  for i = 1, #ids do
    local id = ids[i]
    local data = redis.call('HGET', KEYS[5], id)
    local tries = redis.call('HGET', KEYS[6], id)
    redis.call('ZREM', KEYS[k], id)
    local group = data and k == 3 and group_of(data, tries)
    if group then
      redis.call('HSET', KEYS[2], id, 'aggregating')
      join(keys, now, id, group[1], group[2], group[3], group[4])
      moved = moved + 1
    elseif data then
      if tries then redis.call('HDEL', KEYS[6], id) end
      redis.call('HDEL', KEYS[5], id)
      reindex(KEYS[2], KEYS[12], id, append(KEYS[1], data, tries), data)
      moved = moved + 1
    else
      -- Somebody deleted the record by hand: keep the id where people look.
      redis.call('ZADD', KEYS[7], string.format('%.0f', now), id)
      redis.call('HSET', KEYS[2], id, 'quarantined')
    end
  end
  left = left - #ids
end
return { moved, due_in(now, KEYS[3], KEYS[4]) }
