-- Cancel joins that have waited too long, or are too many, one part of the hash at a time.
-- KEYS  joins awaited totals outbox
-- ARGV  now_ms (0: the broker's clock), cursor ("0": from the beginning),
--       most (about how many to look at), max_age_ms, max_count
-- Returns  cursor to continue with ("0": all were looked at), how many were cancelled
-- Invariant  of a join that is cancelled nothing is left, and it is counted; a join that waits for it
--            is cancelled next
-- Uses  clock forget_join wrong_type
local wrong = wrong_type({ [joins] = true, [awaited] = true }, nil, { [outbox] = true })
if wrong then return wrong end
local now = clock(now_ms)
local found = redis.call('HSCAN', joins, cursor, 'COUNT', most)
local over = redis.call('HLEN', joins) - max_count
local cancelled = 0
for i = 1, #found[2], 2 do
  local ok, fields = pcall(cmsgpack.unpack, found[2][i + 1])
  local made = ok and type(fields) == 'table' and tonumber(fields[1]) or 0
  if made < now - max_age_ms or cancelled < over then
    cancelled = cancelled + forget_join(joins, awaited, outbox, found[2][i])
  end
end
if cancelled > 0 then redis.pcall('HINCRBY', totals, '-:join_dropped', cancelled) end
return { found[1], cancelled }
