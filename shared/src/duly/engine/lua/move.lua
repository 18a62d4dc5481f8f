-- Move what is due from scheduled and retry to the stream, or to the group it belongs to.
-- KEYS  stream index scheduled retry records tries quarantined aggregating groups members claims
--       history
-- ARGV  now-ms (0: the server's), most tasks to move
-- Returns  how many moved, ms until the next is due (-1: none is scheduled)
-- Invariant  atomic and idempotent, so any number of processes may run it
local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
-- The same as in gather.lua. A group is due when its newest has waited for the grace, its oldest for
-- the delay, or when it is full. Who has claimed it decides himself when it is due again.
local function join(id, group, grace, delay, size)
  redis.call('ZADD', KEYS[8], string.format('%.0f', now), id)
  redis.call('ZADD', KEYS[10], 0, group .. '\n' .. string.format('%013.0f', now) .. '\n' .. id)
  if redis.call('HEXISTS', KEYS[11], group) == 1 then return end
  local low, high, due = '[' .. group .. '\n', '[' .. group .. '\n\255', now + grace
  if redis.call('ZLEXCOUNT', KEYS[10], low, high) >= size then due = now end
  if delay > 0 then
    local first = redis.call('ZRANGEBYLEX', KEYS[10], low, high, 'LIMIT', 0, 1)[1]
    due = math.min(due, tonumber(string.sub(first, #group + 2, #group + 14)) + delay)
  end
  redis.call('ZADD', KEYS[9], string.format('%.0f', due), group)
end

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

-- A double was kept under a stand-in for its name, which nobody would ever remove.
local function place(id, entry, data)
  local name = id
  if string.find(id, '#%d+%-%d+$') then
    local ok, message = pcall(cjson.decode, data)
    name = ok and type(message) == 'table' and message.task_id
  end
  if name ~= id then
    local history = redis.call('HGET', KEYS[12], id)
    redis.call('HDEL', KEYS[2], id)
    redis.call('HDEL', KEYS[12], id)
    if type(name) ~= 'string' or redis.call('HEXISTS', KEYS[2], name) == 1 then return end
    if history then redis.call('HSET', KEYS[12], name, history) end
  end
  redis.call('HSET', KEYS[2], name, entry)
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
      join(id, group[1], group[2], group[3], group[4])
      moved = moved + 1
    elseif data then
      local entry
      if tries then
        entry = redis.call('XADD', KEYS[1], '*', 'data', data, 'tries', tries)
        redis.call('HDEL', KEYS[6], id)
      else
        entry = redis.call('XADD', KEYS[1], '*', 'data', data)
      end
      redis.call('HDEL', KEYS[5], id)
      place(id, entry, data)
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
