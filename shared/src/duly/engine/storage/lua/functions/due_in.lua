-- Tell when the next task is due.
-- Takes  now-ms, keys of sorted sets of task ids by the time they are due; of a wrong type: none is
-- Returns  ms until then (-1: they are empty)
local function due_in(now, ...)
  local wait = -1
  for _, key in ipairs({ ... }) do
    local head = redis.pcall('ZRANGE', key, 0, 0, 'WITHSCORES')
    if head[2] then
      local ms = math.max(0, tonumber(head[2]) - now)
      if wait < 0 or ms < wait then wait = ms end
    end
  end
  return wait
end
