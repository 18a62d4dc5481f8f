-- Let a task wait, at the end of the stream.
-- Takes  key of the stream, its data, its tries ("attempts crashes"; nil: none)
-- Returns  its stream id
local function append(stream, data, tries)
  if tries then return redis.call('XADD', stream, '*', 'data', data, 'tries', tries) end
  return redis.call('XADD', stream, '*', 'data', data)
end
