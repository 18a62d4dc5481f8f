-- Let tasks of one kind run as its limits allow; set the others aside.
-- KEYS  stream index scheduled records tries limits permits parked
-- ARGV  now-ms (0: the server's), group, kind, most at once (0: any number), microseconds between
--       two tokens (0: no rate), burst, shortest wait-ms of a task without a permit,
--       then per task: entry id, task id, its tries, its tries with a token reserved, 1 if it has one
-- Returns  one item a task: 0 it may run, -1 it is not its server's any more, else the ms for
--          which it is set aside
-- Invariant  a permit counts only while its entry is pending: what is settled, handed back or
--            reaped gives it back by that, whoever does it
-- Uses  clock is_pending read_entry
local now = clock(ARGV[1])
local group, kind, most = ARGV[2], ARGV[3], tonumber(ARGV[4])
local every, burst, rest = ARGV[5] / 1000, tonumber(ARGV[6]), tonumber(ARGV[7])
local count = (#ARGV - 7) / 5

local free = count
if most > 0 then
  free = most - redis.call('ZCARD', KEYS[7])
  if free < count then
    for _, entry in ipairs(redis.call('ZRANGE', KEYS[7], 0, -1)) do
      if not is_pending(KEYS[1], group, entry) then redis.call('ZREM', KEYS[7], entry) end
    end
    free = most - redis.call('ZCARD', KEYS[7])
  end
  redis.call('HSET', KEYS[6], kind .. ':running', ARGV[4])
end
local full_at = every > 0 and tonumber(redis.call('HGET', KEYS[6], kind .. ':rate') or 0) or 0

-- Returns the name under which the task is kept.
local function set_aside(entry, id, tries, due)
  local _, data = read_entry(KEYS[1], entry)
  redis.call('XACK', KEYS[1], group, entry)
  redis.call('XDEL', KEYS[1], entry)
  local place = redis.call('HGET', KEYS[2], id)
  if place and place ~= entry then id = id .. '#' .. entry end
  redis.call('ZADD', KEYS[3], due, id)
  redis.call('HSET', KEYS[4], id, data or '')
  -- Always: without tries a task with a group would be taken for one that is to join it.
  redis.call('HSET', KEYS[5], id, tries)
  redis.call('HSET', KEYS[2], id, 'scheduled')
  return id
end

local answers = {}
for i = 1, count do
  local a = 3 + 5 * i
  local entry, id, reserved = ARGV[a], ARGV[a + 1], ARGV[a + 4] == '1'
  local wait = 0
  if not is_pending(KEYS[1], group, entry) then
    wait = -1
  elseif most > 0 and redis.call('ZSCORE', KEYS[7], entry) then
    wait = 0 -- asked before, and the answer was lost
  elseif free < 1 then
    -- Woken when a permit is given back; the time is for when that is missed. It grows with the
    -- crowd, so that at most a hundred a second come back in vain.
    wait = rest + 10 * redis.call('ZCARD', KEYS[8])
    local due = string.format('%.0f', now + wait)
    local name = set_aside(entry, id, ARGV[a + (reserved and 3 or 2)], due)
    redis.call('ZADD', KEYS[8], due, name)
  else
    if every > 0 and not reserved then
      full_at = math.max(full_at, now) + every
      wait = math.max(0, math.ceil(full_at - burst * every - now))
    end
    if wait > 0 then
      set_aside(entry, id, ARGV[a + 3], string.format('%.0f', now + wait))
    elseif most > 0 then
      redis.call('ZADD', KEYS[7], string.format('%.0f', now), entry)
      free = free - 1
    end
  end
  answers[i] = wait
end
if every > 0 then redis.call('HSET', KEYS[6], kind .. ':rate', string.format('%.3f', full_at)) end
if most > 0 then redis.call('PEXPIRE', KEYS[8], 86400000) end
return answers
