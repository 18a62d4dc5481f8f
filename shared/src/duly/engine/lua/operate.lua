-- An operator runs, archives or deletes one task, whatever state allows it.
-- KEYS  stream index scheduled retry archived completed quarantined records tries history
--       results locks cancels aggregating members
-- ARGV  now-ms (0: the server's), group, operation (run archive delete), task id,
--       lock digest to free ("": none)
-- Returns  "ok", "missing", or the state that does not allow it
-- Invariant  a task that a server holds is never touched
local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local operation, id = ARGV[3], ARGV[4]
local place = redis.call('HGET', KEYS[2], id)
if not place then return 'missing' end
local sets = { scheduled = KEYS[3], retry = KEYS[4], archived = KEYS[5], completed = KEYS[6],
  quarantined = KEYS[7], aggregating = KEYS[14] }
local state, data = place, nil
if not sets[place] then
  if #redis.call('XPENDING', KEYS[1], ARGV[2], place, place, 1) > 0 then return 'active' end
  state = 'waiting'
end
local allowed = {
  run = { scheduled = true, retry = true, archived = true, quarantined = true,
    aggregating = true },
  archive = { waiting = true, scheduled = true, retry = true, aggregating = true },
  delete = { waiting = true, scheduled = true, retry = true, archived = true, completed = true,
    quarantined = true, aggregating = true },
}
if not allowed[operation][state] then return state end

if state == 'waiting' then
  local found = redis.call('XRANGE', KEYS[1], place, place)[1]
  for k = 1, found and #found[2] or 0, 2 do
    if found[2][k] == 'data' then data = found[2][k + 1] end
    if found[2][k] == 'tries' then redis.call('HSET', KEYS[9], id, found[2][k + 1]) end
  end
  redis.call('XDEL', KEYS[1], place)
else
  data = redis.call('HGET', KEYS[8], id)
  if state == 'aggregating' then
    local ok, message = pcall(cjson.decode, data or '')
    local group = ok and type(message.labels) == 'table' and message.labels.group
    local joined = string.format('%013.0f', redis.call('ZSCORE', KEYS[14], id) or 0)
    if type(group) == 'table' then
      redis.call('ZREM', KEYS[15], tostring(group[1]) .. '\n' .. joined .. '\n' .. id)
    end
  end
  redis.call('ZREM', sets[state], id)
end
if operation == 'run' then
  if not data then
    redis.call('ZADD', KEYS[7], string.format('%.0f', now), id)
    redis.call('HSET', KEYS[2], id, 'quarantined')
    return 'missing'
  end
  local new = redis.call('XADD', KEYS[1], '*', 'data', data, 'tries', '0 0')
  redis.call('HDEL', KEYS[8], id)
  redis.call('HDEL', KEYS[9], id)
  local name = id
  if string.find(id, '^%d+%-%d+$') or string.find(id, '#%d+%-%d+$') then
    -- Perhaps kept under a stand-in for its name, which was taken or could not be read.
    local ok, message = pcall(cjson.decode, data)
    name = ok and type(message) == 'table' and message.task_id
  end
  if name ~= id then
    local history = redis.call('HGET', KEYS[10], id)
    redis.call('HDEL', KEYS[2], id)
    redis.call('HDEL', KEYS[10], id)
    if type(name) == 'string' and #name <= 256 and not redis.call('HGET', KEYS[2], name) then
      redis.call('HSET', KEYS[2], name, new)
      if history then redis.call('HSET', KEYS[10], name, history) end
    end
  else
    redis.call('HSET', KEYS[2], id, new)
  end
elseif operation == 'archive' then
  redis.call('ZADD', KEYS[5], string.format('%.0f', now), id)
  redis.call('HSET', KEYS[8], id, data or '')
  redis.call('HSET', KEYS[2], id, 'archived')
  redis.call('HDEL', KEYS[13], id)
else
  for k = 8, 11 do redis.call('HDEL', KEYS[k], id) end
  redis.call('HDEL', KEYS[13], id)
  redis.call('HDEL', KEYS[2], id)
end
if operation ~= 'run' and ARGV[5] ~= '' then
  local held = redis.call('HGET', KEYS[12], ARGV[5])
  if held and string.match(held, ' (.*)') == id then
    redis.call('HDEL', KEYS[12], ARGV[5])
  end
end
return 'ok'
