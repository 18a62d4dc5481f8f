-- Refuse to add to a queue that has been removed, so that the caller registers it again first: a
-- registered queue always has a stream. The store knows the error, and repeats the script.
-- Takes  key of the stream
-- Returns  the error to return; nil: go on
local function require_stream(stream)
  if redis.call('EXISTS', stream) == 1 then return nil end
  return redis.error_reply('NOGROUP unregistered')
end
