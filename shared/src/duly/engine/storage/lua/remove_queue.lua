-- Delete a queue with all its keys, unless it is in use.
-- KEYS  stream outbox joins leases scheduled retry archived completed quarantined aggregating any
-- ARGV  now_ms (0: the broker's clock), group, force (1: although it holds tasks)
-- Returns  what came of it, a number: removed (tasks that went with it), or served (live servers),
--          active (tasks), held (tasks) and nothing was done
-- Invariant  what is added before it is seen by it; what is added after it finds no stream, and
--            registers the queue anew
-- Uses  clock
local now = clock(now_ms)
local live = redis.call('ZCOUNT', leases, '(' .. string.format('%.0f', now), '+inf')
if live > 0 then return { 'served', live } end
-- What is of a wrong type holds something, whatever it is.
local function size_of(answer) return type(answer) == 'number' and answer or 1 end
local held = size_of(redis.pcall('XLEN', stream)) + size_of(redis.pcall('XLEN', outbox))
  + size_of(redis.pcall('HLEN', joins))
if redis.call('EXISTS', stream) == 1 then
  local pending = redis.pcall('XPENDING', stream, group)
  local active = tonumber(pending[1]) or 0
  if active > 0 then return { 'active', active } end
end
for _, set in ipairs({ scheduled, retry, archived, completed, quarantined, aggregating }) do
  held = held + size_of(redis.pcall('ZCARD', set))
end
if held > 0 and force == 0 then return { 'held', held } end
for i = 1, #KEYS, 1000 do
  redis.call('UNLINK', unpack(KEYS, i, math.min(i + 999, #KEYS)))
end
return { 'removed', held }
