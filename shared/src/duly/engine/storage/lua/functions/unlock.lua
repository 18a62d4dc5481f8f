-- Free a unique lock, if it is this task's.
-- Takes  key of the locks (of a wrong type: it holds none), digest ("": none), task id
-- Returns  nothing
local function unlock(locks, digest, id)
  local value = digest ~= '' and redis.pcall('HGET', locks, digest)
  if type(value) == 'string' and string.match(value, ' (.*)') == id then
    redis.call('HDEL', locks, digest)
  end
end
