-- Note that the queue is alive; after a silence, grant a new lease to all who lived when it began.
-- Takes  keys of pulse, leases and kinds, now-ms, lease-ms
-- Returns  nothing
local function keep_pulse(pulse, leases, kinds, now, lease_ms)
  -- A broker out of memory refuses what may take memory, but only as a script's first write. Leases
  -- must be renewed and judged all the same.
  redis.call('ZREM', leases, '')
  local found = redis.pcall('GET', pulse)
  if type(found) ~= 'string' then found = '' end
  local last, longest = string.match(found, '^(%d+) (%d+)$')
  redis.call('SET', pulse, string.format('%.0f %.0f', now, lease_ms))
  if not last then return end
  local silence = now - last
  -- Servers with other leases send heartbeats at other intervals.
  longest = math.max(lease_ms, tonumber(longest))
  if silence >= 0 and silence <= longest / 2 then return end
  -- Nobody could renew a lease: the broker was unreachable, failed over, or its clock jumped. A
  -- clock that went back has left leases of the future; nobody has one longer than a lease.
  local new = string.format('%.0f', now + longest)
  local low, high = '(' .. last, '(' .. new
  if silence < 0 then low, high = high, '+inf' end
  for _, key in ipairs({ leases, kinds }) do
    for _, name in ipairs(redis.pcall('ZRANGEBYSCORE', key, low, high)) do
      redis.call('ZADD', key, new, name)
    end
  end
end
