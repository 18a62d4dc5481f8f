-- Report a queue's figures for the metrics: one call a queue, whatever the queue holds.
-- KEYS  stream scheduled retry archived completed quarantined aggregating totals paused leases servers
--       outbox joins
-- ARGV  now_ms (0: the broker's clock), group
-- Returns  entries of the stream, those delivered, those whose server has no live lease, ms since the
--          oldest waiting one was added (-1: none waits), ms since the queue is paused (-1: it is not),
--          live servers, what they may run at once, entries of the outbox, joins, a list of the sizes of
--          scheduled to aggregating, a list of outcomes each followed by its count
-- Invariant  nothing is changed
-- Uses  clock
local now = clock(now_ms)

local function map(flat)
  local fields = {}
  for k = 1, #flat, 2 do fields[flat[k]] = flat[k + 1] end
  return fields
end

local live, alive, concurrency = {}, redis.call('ZRANGEBYSCORE', leases, string.format('(%.0f', now), '+inf'), 0
for _, server in ipairs(alive) do
  live[server] = true
  local says = redis.call('HGET', servers, server) or ''
  concurrency = concurrency + (tonumber(string.match(says, '"concurrency":(%d+)')) or 0)
end

local delivered, unowned, oldest = 0, 0, -1
if redis.call('EXISTS', stream) == 1 then
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local fields = map(flat)
    if fields.name == group then
      delivered = fields.pending
      local first = redis.call('XRANGE', stream, '(' .. fields['last-delivered-id'], '+', 'COUNT', 1)[1]
      if first then oldest = math.max(0, now - tonumber(string.match(first[1], '^%d+'))) end
      for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
        local known = map(consumer)
        if not live[known.name] then unowned = unowned + known.pending end
      end
    end
  end
end

local sums, counts = {}, redis.call('HGETALL', totals)
for k = 1, #counts, 2 do
  local outcome, count = string.match(counts[k], ':([^:]*)$'), tonumber(counts[k + 1])
  if outcome and count then sums[outcome] = (sums[outcome] or 0) + count end
end
local outcomes = {}
for outcome, count in pairs(sums) do
  outcomes[#outcomes + 1], outcomes[#outcomes + 2] = outcome, count
end

local sizes = {}
for place, set in ipairs({ scheduled, retry, archived, completed, quarantined, aggregating }) do
  sizes[place] = redis.call('ZCARD', set)
end
local since = tonumber(redis.call('GET', paused) or '')
return { redis.call('XLEN', stream), delivered, unowned, oldest, since and math.max(0, now - since) or -1,
  #alive, concurrency, redis.call('XLEN', outbox), redis.call('HLEN', joins), sizes, outcomes }
