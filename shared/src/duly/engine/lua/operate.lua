-- An operator runs, archives or deletes one task, whatever state allows it.
-- KEYS  stream index scheduled retry archived completed quarantined records tries history
--       results locks cancels aggregating members
-- ARGV  now-ms (0: the server's), group, operation (run archive delete), task id,
--       lock digest to free ("": none)
-- Returns  "ok", "missing", or the state that does not allow it
-- Invariant  a task that a server holds is never touched
-- Uses  clock is_pending read_entry append reindex unlock
local now = clock(ARGV[1])
local operation, id = ARGV[3], ARGV[4]
local place = redis.call('HGET', KEYS[2], id)
if not place then return 'missing' end
local sets = { scheduled = KEYS[3], retry = KEYS[4], archived = KEYS[5], completed = KEYS[6],
  quarantined = KEYS[7], aggregating = KEYS[14] }
local state, data = place, nil
if not sets[place] then
  if is_pending(KEYS[1], ARGV[2], place) then return 'active' end
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
  local _, found, tries = read_entry(KEYS[1], place)
  data = found
  if tries then redis.call('HSET', KEYS[9], id, tries) end
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
  redis.call('HDEL', KEYS[8], id)
  redis.call('HDEL', KEYS[9], id)
  reindex(KEYS[2], KEYS[10], id, append(KEYS[1], data, '0 0'), data)
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
if operation ~= 'run' then unlock(KEYS[12], ARGV[5], id) end
return 'ok'
