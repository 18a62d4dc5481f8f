-- Let tasks of one kind run as its limits allow, and defer the others.
-- KEYS  stream index scheduled records tries limits permits parked
-- ARGV  now_ms (0: the broker's clock), group, kind, max_running (0: no limit),
--       every_us (microseconds between two tokens; 0: no rate), burst,
--       rest_ms (shortest wait of a task without a permit)
-- ROWS  task: stream_id, id, tries_text, token_tries_text (with a token reserved),
--       has_token (1: it has one)
-- Returns  one item a task: 0 it may run, -1 it is no longer its server's, else the ms for which
--          it is deferred
-- Invariant  a permit counts only while its entry is pending, so settling, requeueing or reaping a
--            task releases its permit, whoever does it
-- Uses  clock is_pending read_entry wrong_type
local wrong = wrong_type({ [index] = true, [records] = true, [tries] = true, [limits] = true },
  { [scheduled] = true, [permits] = true, [parked] = true })
if wrong then return wrong end
-- A script that has deleted may add, however full the broker is: tasks must be able to begin there.
redis.call('ZREM', permits, '')
local now = clock(now_ms)
local every = every_us / 1000
local asked = (#ARGV - FIRST + 1) / TASK_SIZE

local free = asked
if max_running > 0 then
  free = max_running - redis.call('ZCARD', permits)
  if free < asked then
    for _, stream_id in ipairs(redis.call('ZRANGE', permits, 0, -1)) do
      if not is_pending(stream, group, stream_id) then redis.call('ZREM', permits, stream_id) end
    end
    free = max_running - redis.call('ZCARD', permits)
  end
  redis.call('HSET', limits, kind .. ':running', max_running)
end
local full_at = 0
if every > 0 then
  -- Tokens are reserved for tasks in the scheduled set only, so none is due after the last of these.
  -- Where one is, a clock was ahead or its task is gone: nobody waits for it.
  local last = redis.call('ZRANGE', scheduled, -1, -1, 'WITHSCORES')
  local reserved_until = math.max(now, tonumber(last[2] or 0))
  full_at = tonumber(redis.call('HGET', limits, kind .. ':rate') or 0) or 0
  -- Somebody may have put anything there: no number, and no time that ever comes.
  if not (math.abs(full_at) < 2 ^ 53) then full_at = 0 end
  full_at = math.min(full_at, reserved_until + burst * every)
end

-- Returns the name under which the task is kept.
local function defer(stream_id, id, tries_text, due)
  local _, data = read_entry(stream, stream_id)
  local place = redis.call('HGET', index, id)
  if place and place ~= stream_id then id = id .. '#' .. stream_id end
  redis.call('ZADD', scheduled, due, id)
  redis.call('HSET', records, id, data or '')
  -- Always: without tries, promote.lua would take a task with a group for one that is to join it.
  redis.call('HSET', tries, id, tries_text)
  redis.call('HSET', index, id, 'scheduled')
  -- Last: should the broker fail on the way, the task is still its server's.
  redis.call('XACK', stream, group, stream_id)
  redis.call('XDEL', stream, stream_id)
  return id
end

local answers = {}
for at = FIRST, #ARGV, TASK_SIZE do
  local stream_id, id = ARGV[at + TASK_STREAM_ID], ARGV[at + TASK_ID]
  local reserved = ARGV[at + TASK_HAS_TOKEN] == '1'
  local wait = 0
  if not is_pending(stream, group, stream_id) then
    wait = -1
  elseif max_running > 0 and redis.call('ZSCORE', permits, stream_id) then
    wait = 0 -- asked before, and the answer was lost
  elseif free < 1 then
    -- Woken when a permit is released; the time is for when that is missed. It grows with the
    -- number of parked tasks, so that at most a hundred a second return in vain.
    wait = rest_ms + 10 * redis.call('ZCARD', parked)
    local due = string.format('%.0f', now + wait)
    local tries_text = ARGV[at + (reserved and TASK_TOKEN_TRIES_TEXT or TASK_TRIES_TEXT)]
    redis.call('ZADD', parked, due, defer(stream_id, id, tries_text, due))
  else
    if every > 0 and not reserved then
      full_at = math.max(full_at, now) + every
      wait = math.max(0, math.ceil(full_at - burst * every - now))
    end
    if wait > 0 then
      defer(stream_id, id, ARGV[at + TASK_TOKEN_TRIES_TEXT], string.format('%.0f', now + wait))
    elseif max_running > 0 then
      redis.call('ZADD', permits, string.format('%.0f', now), stream_id)
      free = free - 1
    end
  end
  answers[#answers + 1] = wait
end
if every > 0 then redis.call('HSET', limits, kind .. ':rate', string.format('%.3f', full_at)) end
if max_running > 0 then redis.call('PEXPIRE', parked, 86400000) end
return answers
