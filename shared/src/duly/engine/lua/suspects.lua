-- Name the servers that may be dead, for reap.lua to judge one by one.
-- KEYS  stream leases
-- ARGV  now-ms (0: the server's), group
-- Returns  servers whose lease has run out, and consumers with tasks that never had a lease
-- Uses  clock
local now = clock(ARGV[1])
local found = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)
if redis.call('EXISTS', KEYS[1]) == 0 then return found end
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[2])) do
  local fields = {}
  for k = 1, #consumer, 2 do fields[consumer[k]] = consumer[k + 1] end
  if fields.pending > 0 and not redis.call('ZSCORE', KEYS[2], fields.name) then
    found[#found + 1] = fields.name
  end
end
return found
