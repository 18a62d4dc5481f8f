-- Free a unique lock, if it is this task's.
-- Takes  key of the locks, digest ("": none), task id
-- Returns  nothing
local function unlock(locks, digest, id)
  local value = digest ~= '' and redis.call('HGET', locks, digest)
  if value and string.match(value, ' (.*)') == id then
    redis.call('HDEL', locks, digest)
  end
end
