-- Tell the time, by the broker unless the caller has a clock of his own.
-- Takes  now-ms (0: the server's)
-- Returns  now-ms
local function clock(given)
  local now = tonumber(given)
  if now ~= 0 then return now end
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
