-- Take what lies in an outbox for this queue: tasks, joins, and reports of members.
-- KEYS  stream index scheduled locks records joins awaited delivered totals outbox
-- ARGV  now_ms (0: the broker's clock), read_ms (when it was read), max_lag_ms (since then),
--       control (channel)
-- ROWS  item: delivery (its id), what (task join arrive cancel), join, number, id, data, due_ms,
--       delay_ms (0: due_ms counts), lock (digest; "": none), lock_ttl_ms
-- Returns  how many were refused because an id or a lock is taken; -1: read too long ago, or the
--          clock has jumped since, and nothing was done; without items: the time, to be given as read_ms of what is read after it
-- Invariant  a delivery id is obeyed once, for as long as it is remembered, which is longer than
--            anybody may take to deliver what they have read
-- Uses  clock add_one require_stream forget_join whole_number wrong_type
local now = clock(now_ms)
local missing = require_stream(stream)
if missing then return missing end
if FIRST > #ARGV then return now end
-- Where the clock has gone back since, nobody can tell how long ago that was.
if math.abs(now - read_ms) > max_lag_ms then return -1 end
local hashes, sorted_sets, streams = { [index] = true }, { [delivered] = true }, { [stream] = true }
for at = FIRST, #ARGV, ITEM_SIZE do
  if ARGV[at + ITEM_LOCK] ~= '' then hashes[locks] = true end
  if ARGV[at + ITEM_WHAT] ~= 'task' then hashes[joins], hashes[awaited] = true, true end
  if ARGV[at + ITEM_WHAT] == 'cancel' then streams[outbox] = true end
  if ARGV[at + ITEM_WHAT] ~= 'task' or ARGV[at + ITEM_DUE_MS] ~= '0' or ARGV[at + ITEM_DELAY_MS] ~= '0' then
    hashes[records], sorted_sets[scheduled] = true, true
  end
end
local wrong = wrong_type(hashes, sorted_sets, streams)
if wrong then return wrong end
local refused, soon = 0, false
local keys = { stream = stream, index = index, scheduled = scheduled, locks = locks,
  records = records }

local function admit(...)
  local wait = add_one(keys, now, ...)
  soon = soon or wait > 0 and wait < 5000
  if wait < 0 then
    refused = refused + 1
    redis.pcall('HINCRBY', totals, '-:successor_refused', 1)
  end
end

-- What a join keeps: when it was made, how many members, and the task's fields.
local function arrive(join, number)
  if redis.call('HDEL', awaited, join .. '\n' .. number) == 0 then return end
  local ok, task = pcall(cmsgpack.unpack, redis.call('HGET', joins, join) or '')
  if not ok or type(task) ~= 'table' or #task ~= 8 then task = nil end
  if not whole_number(redis.call('HGET', awaited, join) or '0') then
    -- Somebody has put something else in its place: those that it awaits are counted anew.
    local left = 1
    for i = 0, math.min(task and whole_number(task[2]) or 0, 1000) - 1 do
      left = left + redis.call('HEXISTS', awaited, join .. '\n' .. i)
    end
    redis.call('HSET', awaited, join, left)
  end
  if redis.call('HINCRBY', awaited, join, -1) > 0 then return end
  redis.call('HDEL', awaited, join)
  redis.call('HDEL', joins, join)
  if task then admit(unpack(task, 3)) end
end

for at = FIRST, #ARGV, ITEM_SIZE do
  local delivery, what = ARGV[at + ITEM_DELIVERY], ARGV[at + ITEM_WHAT]
  local join, number = ARGV[at + ITEM_JOIN], ARGV[at + ITEM_NUMBER]
  if not redis.call('ZSCORE', delivered, delivery) then
    if what == 'task' then
      admit(unpack(ARGV, at + ITEM_ID, at + ITEM_LOCK_TTL_MS))
    elseif what == 'arrive' then
      arrive(join, number)
    elseif what == 'cancel' then
      redis.pcall('HINCRBY', totals, '-:join_dropped', forget_join(joins, awaited, outbox, join))
    elseif redis.call('HEXISTS', joins, join) == 0 then
      redis.call('HSET', joins, join, cmsgpack.pack({ string.format('%.0f', now), number,
        unpack(ARGV, at + ITEM_ID, at + ITEM_LOCK_TTL_MS) }))
      redis.call('HSET', awaited, join, number)
      for i = 0, tonumber(number) - 1 do
        redis.call('HSET', awaited, join .. '\n' .. i, '')
      end
    else
      refused = refused + 1
      redis.pcall('HINCRBY', totals, '-:successor_refused', 1)
    end
    -- Last, since an error above ends the script: what did not arrive must not count as arrived.
    redis.call('ZADD', delivered, string.format('%.0f', now), delivery)
  end
end
-- A user without rights to the channel only loses immediacy, so errors are ignored.
if soon then redis.pcall('PUBLISH', control, 'due') end
return refused
