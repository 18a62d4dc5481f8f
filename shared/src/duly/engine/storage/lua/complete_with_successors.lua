-- Settle tasks that succeeded, and enqueue their successors.
-- KEYS  stream index locks totals records tries history completed results cancels scheduled outbox
--       hour day
-- ARGV  now_ms (0: the broker's clock), group, minute (of the hour), control (channel),
--       queue (the name of this one), attempts_kept
-- ROWS  task: stream_id, id, kind, lock (digest; "": none), retention_ms (0: not kept), tries_text,
--       result (JSON; "": none), attempt (JSON; "": none),
--       successors (how many rows of these follow);
--       successor: queue, what (task join arrive), join, number, id, data, due_ms,
--       delay_ms (0: due_ms counts), lock (digest; "": none), lock_ttl_ms
-- Returns  the stream ids that were refused: their server had lost its lease; how many successors
--          were refused; how many were put into the outbox
-- Invariant  a task ends and its successors begin in one step, or neither happens
-- Uses  clock count read_entry unlock add_one outbox_put forget remember wrong_type
local now = clock(now_ms)
local refused, left_out, posted, soon = {}, 0, 0, false
local keys = { stream = stream, index = index, scheduled = scheduled, locks = locks,
  records = records }

local hashes, sorted_sets, streams = { [index] = true }, {}, {}
local function will_follow(at)
  if ARGV[at + SUCCESSOR_QUEUE] ~= queue or ARGV[at + SUCCESSOR_WHAT] ~= 'task' then
    streams[outbox] = true
    return
  end
  if ARGV[at + SUCCESSOR_LOCK] ~= '' then hashes[locks] = true end
  if ARGV[at + SUCCESSOR_DUE_MS] ~= '0' or ARGV[at + SUCCESSOR_DELAY_MS] ~= '0' then
    hashes[records], sorted_sets[scheduled] = true, true
  end
end

local function settle(stream_id, id, lock, retention, tries_text, result, attempt)
  local fields, data
  if retention > 0 then fields, data = read_entry(stream, stream_id) end
  if redis.call('XACK', stream, group, stream_id) == 0 then return false end
  redis.call('XDEL', stream, stream_id)
  unlock(locks, lock, id)
  forget({ cancels }, id)
  local place = redis.call('HGET', index, id)
  if fields then
    if place and place ~= stream_id then id = id .. '#' .. stream_id end
    redis.call('ZADD', completed, string.format('%.0f', now + retention), id)
    redis.call('HSET', records, id, data)
    redis.call('HSET', tries, id, tries_text)
    redis.call('HSET', index, id, 'completed')
    forget({ results }, id)
    if result ~= '' then redis.call('HSET', results, id, result) end
    remember(history, id, attempt, attempts_kept)
  elseif place == stream_id then
    forget({ index, records, tries, history, results }, id)
  end
  return true
end

local function follow(at, kind)
  if ARGV[at + SUCCESSOR_QUEUE] ~= queue or ARGV[at + SUCCESSOR_WHAT] ~= 'task' then
    outbox_put(outbox, unpack(ARGV, at, at + SUCCESSOR_SIZE - 1))
    posted = posted + 1
    return
  end
  local wait = add_one(keys, now, unpack(ARGV, at + SUCCESSOR_ID, at + SUCCESSOR_LOCK_TTL_MS))
  soon = soon or wait > 0 and wait < 5000
  if wait < 0 then
    count(totals, hour, day, minute, kind .. ':successor_refused', 1)
    left_out = left_out + 1
  end
end

local at = FIRST
while at < #ARGV do
  if ARGV[at + TASK_RETENTION_MS] ~= '0' then
    hashes[records], hashes[tries], sorted_sets[completed] = true, true, true
    if ARGV[at + TASK_RESULT] ~= '' then hashes[results] = true end
    if ARGV[at + TASK_ATTEMPT] ~= '' then hashes[history] = true end
  end
  local first = at + TASK_SIZE
  at = first + SUCCESSOR_SIZE * tonumber(ARGV[at + TASK_SUCCESSORS])
  for successor = first, at - 1, SUCCESSOR_SIZE do will_follow(successor) end
end
local wrong = wrong_type(hashes, sorted_sets, streams)
if wrong then return wrong end

at = FIRST
while at < #ARGV do
  local stream_id, kind = ARGV[at + TASK_STREAM_ID], ARGV[at + TASK_KIND]
  local first = at + TASK_SIZE
  local after = first + SUCCESSOR_SIZE * tonumber(ARGV[at + TASK_SUCCESSORS])
  if settle(stream_id, ARGV[at + TASK_ID], ARGV[at + TASK_LOCK],
    tonumber(ARGV[at + TASK_RETENTION_MS]), ARGV[at + TASK_TRIES_TEXT], ARGV[at + TASK_RESULT],
    ARGV[at + TASK_ATTEMPT]) then
    count(totals, hour, day, minute, kind .. ':processed', 1)
    for successor = first, after - 1, SUCCESSOR_SIZE do follow(successor, kind) end
  else
    refused[#refused + 1] = stream_id
  end
  at = after
end
redis.call('EXPIRE', hour, 262800)
-- A user without rights to the channel only loses immediacy, so errors are ignored.
if soon then redis.pcall('PUBLISH', control, 'due') end
return { refused, left_out, posted }
