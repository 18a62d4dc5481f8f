-- Tell whether a server holds a task.
-- Takes  key of the stream, group, stream id (or what somebody has put in the place of one)
-- Returns  true or false
local function is_pending(stream, group, stream_id)
  local found = redis.pcall('XPENDING', stream, group, stream_id, stream_id, 1)
  if not found.err then return #found > 0 end
  if string.find(found.err, 'Invalid stream ID', 1, true) then return false end
  -- Anything else is the caller's: it ends the script.
  return redis.call('XPENDING', stream, group, stream_id, stream_id, 1)
end
