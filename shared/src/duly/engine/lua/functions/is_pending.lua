-- Tell whether a server holds a task.
-- Takes  key of the stream, group, entry id
-- Returns  true or false
local function is_pending(stream, group, entry)
  return #redis.call('XPENDING', stream, group, entry, entry, 1) > 0
end
