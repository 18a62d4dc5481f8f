-- Write into the index where a task is that waits again, under its own name.
-- Takes  keys of index and history, task id as it was kept, its entry, its data
-- Returns  nothing
-- Uses  forget
local function reindex(index, history, id, stream_id, data)
  local name = id
  if string.find(id, '^%d+%-%d+$') or string.find(id, '#%d+%-%d+$') then
    -- Perhaps kept under a stand-in for its name, which was taken or could not be read. Nobody
    -- would ever remove that.
    local ok, message = pcall(cjson.decode, data)
    name = ok and type(message) == 'table' and message.task_id
  end
  if name ~= id then
    local attempts = redis.pcall('HGET', history, id)
    forget({ index, history }, id)
    if type(name) ~= 'string' or #name > 256 then return end
    if redis.call('HEXISTS', index, name) == 1 then return end
    if type(attempts) == 'string' then redis.call('HSET', history, name, attempts) end
  end
  redis.call('HSET', index, name, stream_id)
end
