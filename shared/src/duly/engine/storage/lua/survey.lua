-- Report what the monitor shows of several queues, and none of their tasks: one call for many queues.
-- KEYS  stream scheduled retry archived completed quarantined aggregating totals paused pause_note leases
--       servers entries ticks index records history groups hour hour_before day. These for each queue
-- ARGV  group, minute (of the hour), minute_before, whole (1: report every minute of both hours)
-- Returns  for each queue nil when it cannot be read, or: entries of the stream, those delivered, id of the
--          oldest waiting one ("": none), the sizes of scheduled to aggregating, outcomes each followed by
--          its count since ever, the same of the day, since when and how it is paused, the lowest scores
--          of scheduled, retry and groups ("": empty), leases with their ends, servers, entries and ticks
--          as they are, and the minutes: hour (0: now's, 1: the one before), minute, processed and failed
--          of each in which something was
-- Invariant  nothing is changed
-- Uses  lowest_score
local function count_outcomes(key)
  local sums, answer, flat = {}, {}, redis.call('HGETALL', key)
  for k = 1, #flat, 2 do
    local outcome = string.match(flat[k], ':([^:]*)$')
    if outcome then sums[outcome] = (sums[outcome] or 0) + tonumber(flat[k + 1]) end
  end
  for outcome, sum in pairs(sums) do
    answer[#answer + 1], answer[#answer + 2] = outcome, sum
  end
  return answer
end

local function add_minutes(answer, place, key)
  local processed, failed, flat = {}, {}, redis.call('HGETALL', key)
  for k = 1, #flat, 2 do
    local of, outcome = string.match(flat[k], '^(%d+):?.*:([^:]*)$')
    of = tonumber(of)
    if of and (whole == 1 or of == minute or of == minute_before) then
      local sums = outcome == 'processed' and processed or outcome == 'failed' and failed
      if sums then sums[of] = (sums[of] or 0) + tonumber(flat[k + 1]) end
    end
  end
  for of = 0, 59 do
    if processed[of] or failed[of] then
      local last = #answer
      answer[last + 1], answer[last + 2] = place, of
      answer[last + 3], answer[last + 4] = processed[of] or 0, failed[of] or 0
    end
  end
end

local function report(at)
  local delivered, oldest, stream = 0, '', KEYS[at + KEY_STREAM]
  if redis.call('EXISTS', stream) == 1 then
    for _, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
      local fields = {}
      for k = 1, #flat, 2 do fields[flat[k]] = flat[k + 1] end
      if fields.name == group then
        delivered = fields.pending
        local first = redis.call('XRANGE', stream, '(' .. fields['last-delivered-id'], '+', 'COUNT', 1)[1]
        oldest = first and first[1] or ''
      end
    end
  end
  local sizes = {}
  for _, key in ipairs({ KEY_SCHEDULED, KEY_RETRY, KEY_ARCHIVED, KEY_COMPLETED, KEY_QUARANTINED, KEY_AGGREGATING }) do
    sizes[#sizes + 1] = redis.call('ZCARD', KEYS[at + key])
  end
  -- Not shown: a queue of which one of these cannot be read is not as it should be.
  for _, key in ipairs({ KEY_INDEX, KEY_RECORDS, KEY_HISTORY }) do redis.call('HLEN', KEYS[at + key]) end
  local due = {}
  for place, key in ipairs({ KEY_SCHEDULED, KEY_RETRY, KEY_GROUPS }) do
    due[place] = lowest_score(KEYS[at + key]) or ''
  end
  local minutes = {}
  add_minutes(minutes, 0, KEYS[at + KEY_HOUR])
  if whole == 1 or minute == 0 then add_minutes(minutes, 1, KEYS[at + KEY_HOUR_BEFORE]) end
  return { redis.call('XLEN', stream), delivered, oldest, sizes, count_outcomes(KEYS[at + KEY_TOTALS]),
    count_outcomes(KEYS[at + KEY_DAY]), redis.call('GET', KEYS[at + KEY_PAUSED]) or '',
    redis.call('GET', KEYS[at + KEY_PAUSE_NOTE]) or '', due,
    redis.call('ZRANGE', KEYS[at + KEY_LEASES], 0, -1, 'WITHSCORES'),
    redis.call('HGETALL', KEYS[at + KEY_SERVERS]), redis.call('HGETALL', KEYS[at + KEY_ENTRIES]),
    redis.call('HGETALL', KEYS[at + KEY_TICKS]), minutes }
end

local reports = {}
for at = 0, #KEYS - 1, KEYS_SIZE do
  local read, answer = pcall(report, at)
  reports[#reports + 1] = read and answer
end
return reports
