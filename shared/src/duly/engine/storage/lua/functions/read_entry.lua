-- Read what an entry of the stream holds.
-- Takes  key of the stream, stream id (or what somebody has put in the place of one)
-- Returns  its fields and values in a row, its data, its tries (nil: none); nil: no such entry
local function read_entry(stream, stream_id)
  -- Too long a number is the only error left: the group's other scripts look at the key's type.
  local range = string.find(stream_id, '^%d+%-%d+$') and redis.pcall('XRANGE', stream, stream_id, stream_id)
  local found = range and range[1]
  if not found then return nil end
  local fields, data, tries = found[2], nil, nil
  for k = 1, #fields, 2 do
    if fields[k] == 'data' then data = fields[k + 1] end
    if fields[k] == 'tries' then tries = fields[k + 1] end
  end
  return fields, data, tries
end
