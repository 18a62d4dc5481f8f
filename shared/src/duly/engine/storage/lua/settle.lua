-- Settle tasks that did not simply succeed: to retry, archived, completed, quarantined or gone.
-- KEYS  stream index locks totals records tries history retry archived completed quarantined
--       results cancels scheduled outbox hour day
-- ARGV  now_ms (0: the broker's clock), group, minute (of the hour), attempts_kept
-- ROWS  task: stream_id, id, kind, destination (retry archived completed quarantined dropped
--       waiting scheduled), in_ms (retry, scheduled: until it is due; completed: until it is
--       forgotten), tries, attempt (JSON; "": none), lock (digest; "": none),
--       result (JSON; "": none), outcomes (to count, separated by commas; "": none),
--       join_queue, join (dropped: what waits for it in vain; "": nothing),
--       data (retry, waiting, scheduled: the message that replaces its own; "": it stays)
-- Returns  the stream ids that were refused: their server had lost its lease
-- Invariant  the move is one step: a task is never in two places nor in none; a partial result
--            stays with a task that failed, and goes with one that is dropped or waits anew
-- Uses  clock unlock is_pending read_entry append count outbox_put forget remember wrong_type
local now = clock(now_ms)
local sets = { retry = retry, archived = archived, completed = completed,
  quarantined = quarantined, scheduled = scheduled }
local later = { retry = true, completed = true, scheduled = true }
local on_its_way = { retry = true, waiting = true, scheduled = true }
local refused, counts = {}, {}

local hashes, sorted_sets, streams = { [index] = true }, {}, {}
for at = FIRST, #ARGV, TASK_SIZE do
  local set = sets[ARGV[at + TASK_DESTINATION]]
  if set then
    sorted_sets[set], hashes[records], hashes[tries] = true, true, true
    if ARGV[at + TASK_ATTEMPT] ~= '' then hashes[history] = true end
    if ARGV[at + TASK_RESULT] ~= '' then hashes[results] = true end
  elseif ARGV[at + TASK_JOIN] ~= '' then
    streams[outbox] = true
  end
end
local wrong = wrong_type(hashes, sorted_sets, streams)
if wrong then return wrong end
-- A script that has deleted may add, however full the broker is: tasks must be able to end there.
redis.call('XDEL', stream, '0-0')

for at = FIRST, #ARGV, TASK_SIZE do
  local stream_id, id, kind = ARGV[at + TASK_STREAM_ID], ARGV[at + TASK_ID], ARGV[at + TASK_KIND]
  local destination, tries_text = ARGV[at + TASK_DESTINATION], ARGV[at + TASK_TRIES]
  local result = ARGV[at + TASK_RESULT]
  local fields, data = read_entry(stream, stream_id)
  if not is_pending(stream, group, stream_id) then
    refused[#refused + 1] = stream_id
  elseif not fields then
    redis.call('XACK', stream, group, stream_id)
    -- Somebody deleted the entry by hand: without it there is nothing to keep, and the id is free.
    refused[#refused + 1] = stream_id
    if redis.call('HGET', index, id) == stream_id then forget({ index, history, results, cancels }, id) end
    unlock(locks, ARGV[at + TASK_LOCK], id)
  else
    if ARGV[at + TASK_DATA] ~= '' then data = ARGV[at + TASK_DATA] end
    -- The stream gives it up last, and the index follows: should the broker deny a command on the way,
    -- since the user's rights have been changed, the task is still there.
    local place, goes_to = redis.call('HGET', index, id), destination
    if place and place ~= stream_id then id = id .. '#' .. stream_id end
    if destination == 'waiting' then
      goes_to = append(stream, data, tries_text ~= '0 0' and tries_text or nil)
      forget({ results }, id)
    elseif destination == 'dropped' then
      local join = ARGV[at + TASK_JOIN]
      if join ~= '' then
        outbox_put(outbox, ARGV[at + TASK_JOIN_QUEUE], 'cancel', join, 0, '', '', 0, 0, '', 0)
      end
    else
      local instant = now
      if later[destination] then instant = now + ARGV[at + TASK_IN_MS] end
      redis.call('HSET', records, id, data or cmsgpack.pack(fields))
      redis.call('HSET', tries, id, tries_text)
      redis.call('ZADD', sets[destination], string.format('%.0f', instant), id)
      remember(history, id, ARGV[at + TASK_ATTEMPT], attempts_kept)
      if result ~= '' then
        redis.call('HSET', results, id, result)
      elseif destination == 'completed' then
        forget({ results }, id)
      end
    end
    redis.call('XACK', stream, group, stream_id)
    redis.call('XDEL', stream, stream_id)
    if destination == 'dropped' then
      forget({ index, history, results }, id)
    elseif destination ~= 'waiting' or place == stream_id then
      redis.call('HSET', index, id, goes_to)
    end
    if not on_its_way[destination] then unlock(locks, ARGV[at + TASK_LOCK], ARGV[at + TASK_ID]) end
    forget({ cancels }, ARGV[at + TASK_ID])
    for outcome in string.gmatch(ARGV[at + TASK_OUTCOMES], '[^,]+') do
      local field = kind .. ':' .. outcome
      counts[field] = (counts[field] or 0) + 1
    end
  end
end
for field, number in pairs(counts) do
  count(totals, hour, day, minute, field, number)
end
redis.call('EXPIRE', hour, 262800)
return refused
