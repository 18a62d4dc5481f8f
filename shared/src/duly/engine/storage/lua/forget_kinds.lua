-- Forget kinds of job that nobody publishes any more.
-- KEYS  records editions rivals published
-- ARGV  now_ms (0: the broker's clock), kept_ms
-- ROWS  gone: kind
-- Returns  how many were forgotten
-- Invariant  a kind that was published within kept_ms stays, whoever asks
-- Uses  clock whole_number
local now = clock(now_ms)
local total = whole_number(redis.call('HGET', editions, '') or '') or 0
local forgotten = 0
for at = FIRST, #ARGV, GONE_SIZE do
  local kind = ARGV[at + GONE_KIND]
  local last = redis.call('ZSCORE', published, kind)
  if last and tonumber(last) <= now - kept_ms then
    total = total - redis.call('HSTRLEN', records, kind)
    for _, key in ipairs({ records, editions, rivals }) do redis.call('HDEL', key, kind) end
    redis.call('ZREM', published, kind)
    forgotten = forgotten + 1
  end
end
redis.call('HSET', editions, '', total)
return forgotten
