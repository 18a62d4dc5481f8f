-- Name the servers that may be dead, for reap.lua to judge one by one.
-- KEYS  stream leases kinds pulse
-- ARGV  now_ms (0: the broker's clock), group, lease_ms (the usual one)
-- Returns  servers whose lease has expired, and consumers with tasks that never had a lease
-- Invariant  after a silence of the broker nobody is suspected for one lease
-- Uses  clock keep_pulse
local now = clock(now_ms)
keep_pulse(pulse, leases, kinds, now, lease_ms)
local found = redis.call('ZRANGEBYSCORE', leases, '-inf', now)
if redis.call('EXISTS', stream) == 0 then return found end
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
  local fields = {}
  for k = 1, #consumer, 2 do fields[consumer[k]] = consumer[k + 1] end
  if fields.pending > 0 and not redis.call('ZSCORE', leases, fields.name) then
    found[#found + 1] = fields.name
  end
end
return found
