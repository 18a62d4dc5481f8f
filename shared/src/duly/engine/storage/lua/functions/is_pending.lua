-- Tell whether a server holds a task.
-- Takes  key of the stream, group, stream id
-- Returns  true or false
local function is_pending(stream, group, stream_id)
  return #redis.call('XPENDING', stream, group, stream_id, stream_id, 1) > 0
end
