-- Publish what a process says of the kinds of job that it knows.
-- KEYS  records editions rivals published queues
-- ARGV  now_ms (0: the broker's clock), started_ms (of the process), live_ms (how long a process
--       counts as alive after it has published), kept_ms, most (kinds), most_bytes (of all records)
-- ROWS  said: kind, digest (of its schema), app, record (JSON), queue (of its policy)
-- Returns  for each kind "ok", "full" (nothing was stored), "newer app" (it has taken the place of
--          the other schema of that app) or "older app" (that one is newer, and stays); then kinds
--          that nobody has published for kept_ms, at most twenty
-- Invariant  of several live processes the one that started last has its record stored; an edition
--            is the ms of its last publication, the process' start, its digest and its app; the
--            queue of each that is not refused is among the queues, for kept_ms
-- Uses  clock whole_number
local now = clock(now_ms)
local total = whole_number(redis.call('HGET', editions, '') or '') or 0
local answers = {}
for at = FIRST, #ARGV, SAID_SIZE do
  local kind, digest, app = ARGV[at + SAID_KIND], ARGV[at + SAID_DIGEST], ARGV[at + SAID_APP]
  local edition = redis.call('HGET', editions, kind) or ''
  local seen, began, other, owner = string.match(edition, '^(%d+) (%d+) (%S+) (.*)$')
  local live = seen and tonumber(seen) + live_ms > now
  local rival = live and other ~= digest
  local grows = #ARGV[at + SAID_RECORD] - redis.call('HSTRLEN', records, kind)
  local answer = 'ok'
  if live and tonumber(began) > started_ms then
    if rival then
      answer = 'older ' .. owner
      redis.call('HSET', rivals, kind, string.format('%.0f %s %s', now, digest, app))
    end
    redis.call('ZADD', published, now, kind)
    redis.call('SADD', queues, ARGV[at + SAID_QUEUE])
  elseif not seen and redis.call('HLEN', records) >= most or total + grows > most_bytes then
    answer = 'full'
  else
    if rival then
      answer = 'newer ' .. owner
      redis.call('HSET', rivals, kind, seen .. ' ' .. other .. ' ' .. owner)
    end
    redis.call('HSET', records, kind, ARGV[at + SAID_RECORD])
    redis.call('HSET', editions, kind,
      string.format('%.0f %.0f %s %s', now, started_ms, digest, app))
    redis.call('ZADD', published, now, kind)
    redis.call('SADD', queues, ARGV[at + SAID_QUEUE])
    total = total + grows
  end
  answers[#answers + 1] = answer
end
redis.call('HSET', editions, '', total)
redis.call('PEXPIRE', queues, kept_ms)
return { answers, redis.call('ZRANGEBYSCORE', published, '-inf', now - kept_ms, 'LIMIT', 0, 20) }
