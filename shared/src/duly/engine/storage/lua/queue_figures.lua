-- Report a queue's figures for the metrics, and which of its keys hold what is not duly's: one call a
-- queue, whatever the queue holds.
-- KEYS  aggregating archived awaited cancels claims commands completed delivered entries groups history
--       index joins kinds leases limits locks members outbox pause_note paused pulse quarantined records
--       results retry scheduled servers stream ticks totals tries hour day
-- ARGV  now_ms (0: the broker's clock), group
-- ROWS  typed: type (that the key has to have; one row a key, in their order)
-- Returns  a list of keys of another type, each with the type that it has and the one it has to have; the
--          figures, or nil where these keys do not let them be read; the fields of limits; those of entries.
--          The figures: entries of the stream, those delivered, those whose server has no live lease, ms
--          since the oldest waiting one was added (-1: none waits), ms since the queue is paused (-1: it is
--          not), live servers, what they may run at once, entries of the outbox, joins, a list of the ms
--          for which the first of scheduled, retry and groups has been due (0: none is), a list of the sizes of
--          scheduled to aggregating, a list of outcomes each followed by its count
-- Invariant  nothing is changed
-- Uses  clock lowest_score whole_number
local now = clock(now_ms)

local misfits = {}
for place, key in ipairs(KEYS) do
  local actual = redis.call('TYPE', key).ok
  local expected = ARGV[FIRST + TYPED_SIZE * (place - 1) + TYPED_TYPE]
  if actual ~= 'none' and actual ~= expected then
    misfits[#misfits + 1] = { key, actual, expected }
  end
end

local function map(flat)
  local fields = {}
  for k = 1, #flat, 2 do fields[flat[k]] = flat[k + 1] end
  return fields
end

local function figures()
  local live, alive, concurrency = {}, redis.call('ZRANGEBYSCORE', leases, string.format('(%.0f', now), '+inf'), 0
  for _, server in ipairs(alive) do
    live[server] = true
    local says = redis.call('HGET', servers, server) or ''
    concurrency = concurrency + (tonumber(string.match(says, '"concurrency":(%d+)')) or 0)
  end

  local pending, unowned, oldest = 0, 0, -1
  if redis.call('EXISTS', stream) == 1 then
    for _, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
      local fields = map(flat)
      if fields.name == group then
        pending = fields.pending
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
    local outcome, count = string.match(counts[k], ':([^:]*)$'), whole_number(counts[k + 1])
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
  local overdue = {}
  for place, set in ipairs({ scheduled, retry, groups }) do
    overdue[place] = math.max(0, now - math.max(0, tonumber(lowest_score(set)) or now))
  end
  local since = whole_number(redis.call('GET', paused) or '')
  return { redis.call('XLEN', stream), pending, unowned, oldest, since and math.max(0, now - since) or -1,
    #alive, concurrency, redis.call('XLEN', outbox), redis.call('HLEN', joins), overdue, sizes, outcomes }
end

local read, answer = pcall(figures)
if not read and #misfits == 0 then
  return redis.error_reply(type(answer) == 'table' and answer.err or tostring(answer))
end
local function fields(key)
  local found = redis.pcall('HKEYS', key)
  return found.err and {} or found
end
return { misfits, read and answer, fields(limits), fields(entries) }
