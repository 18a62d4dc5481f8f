-- Move what is due from scheduled and retry to the stream, or to the group it belongs to.
-- KEYS  stream index scheduled retry records tries quarantined aggregating groups members claims
--       history
-- ARGV  now_ms (0: the broker's clock), most (tasks to move)
-- Returns  how many moved, ms until the next is due (-1: none is scheduled), why others cannot move
--          ("": all could): they are due again a minute later, so that they hold up nobody
-- Invariant  atomic and idempotent, so any number of processes may run it
-- Uses  clock enter_group append reindex due_in wrong_type
local now = clock(now_ms)
local wrong = wrong_type({ [index] = true, [records] = true, [tries] = true }, nil,
  { [stream] = true })
if wrong then return wrong end
local ungrouped = wrong_type({ [claims] = true },
  { [aggregating] = true, [groups] = true, [members] = true })
local unkept, problem = wrong_type(nil, { [quarantined] = true }), ''
local keys = { aggregating = aggregating, groups = groups, members = members, claims = claims }

local function group_of(data, tries_text)
  if tries_text or not string.find(data, '"group":', 1, true) then return nil end
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

local left, moved = most, 0
for _, set in ipairs({ scheduled, retry }) do
  local ids = redis.pcall('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, left)
  if ids.err then problem = set .. ' cannot be read: ' .. ids.err end
  if ids[1] then
    -- What the user may not do, because rights are being changed, shows before anything is done. It
    -- begins with what deletes: after that a script may add, however full the broker is.
    redis.call('ZREM', set, '')
    redis.call('HDEL', records, '')
    local place = redis.call('HGET', index, ids[1])
    if place then redis.call('HSET', index, ids[1], place) end
  end
  for _, id in ipairs(ids) do
    local data = redis.call('HGET', records, id)
    local tries_text = redis.call('HGET', tries, id)
    local group = data and set == scheduled and group_of(data, tries_text)
    local held = group and ungrouped or not data and unkept
    local entry = data and not group and append(stream, data, tries_text)
    if not held then redis.call('ZREM', set, id) end
    if held then
      redis.call('ZADD', set, string.format('%.0f', now + 60000), id)
      problem = held.err
    elseif group then
      redis.call('HSET', index, id, 'aggregating')
      enter_group(keys, now, id, group[1], group[2], group[3], group[4])
      moved = moved + 1
    elseif data then
      if tries_text then redis.call('HDEL', tries, id) end
      redis.call('HDEL', records, id)
      reindex(index, history, id, entry, data)
      moved = moved + 1
    else
      -- Somebody deleted the record by hand: keep the id where operators look.
      redis.call('ZADD', quarantined, string.format('%.0f', now), id)
      redis.call('HSET', index, id, 'quarantined')
    end
  end
  left = left - #ids
end
return { moved, due_in(now, scheduled, retry), problem }
