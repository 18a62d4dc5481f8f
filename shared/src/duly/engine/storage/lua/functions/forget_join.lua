-- Forget a join, and which of its members it awaits. The task that waited will never run; where that
-- was to report to an outer join itself, the outer one is cancelled as well, through the outbox.
-- Takes  keys of joins, awaited and outbox, join id
-- Returns  1, or 0 when there is no such join
-- Uses  outbox_put
local function forget_join(joins, awaited, outbox, join)
  local kept = redis.call('HGET', joins, join)
  if not kept then return 0 end
  local ok, fields = pcall(cmsgpack.unpack, kept)
  if not ok or type(fields) ~= 'table' then fields = {} end
  for i = 0, math.min(tonumber(fields[2]) or 0, 1000) - 1 do
    redis.call('HDEL', awaited, join .. '\n' .. i)
  end
  redis.call('HDEL', joins, join)
  redis.call('HDEL', awaited, join)
  local decoded, message = pcall(cjson.decode, type(fields[4]) == 'string' and fields[4] or '')
  local labels = decoded and type(message) == 'table' and message.labels
  local flow = type(labels) == 'table' and labels.flow
  local outer = type(flow) == 'table' and flow.join
  if type(outer) == 'table' and type(outer[1]) == 'string' and type(outer[2]) == 'string' then
    outbox_put(outbox, outer[1], 'cancel', outer[2], 0, '', '', 0, 0, '', 0)
  end
  return 1
end
