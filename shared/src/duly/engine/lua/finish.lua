-- Settle tasks that succeeded: acknowledge, delete, free their locks, count.
-- KEYS  stream index locks totals hour records tries history cancels day results
-- ARGV  group, minute of the hour, dirty ("1": some have tries, history or a draft), n,
--       then n entry ids, n task ids, n kinds, n lock digests ("": none)
-- Returns  the entry ids that were refused: their server had lost its lease
-- Invariant  whoever acknowledges an entry owns it; nobody else may count or delete it
local group, minute, dirty, n = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local entries, ids = {}, {}
for i = 1, n do
  entries[i] = ARGV[4 + i]
  ids[i] = ARGV[4 + n + i]
end
local places = redis.call('HMGET', KEYS[2], unpack(ids))
local refused, owned, gone, counts = {}, {}, {}, {}
for i = 1, n do
  -- What the index still names by this entry has not changed hands. Entries of strangers are in
  -- no index: there the acknowledgement itself tells.
  local indexed = places[i] == entries[i]
  if indexed or redis.call('XACK', KEYS[1], group, entries[i]) == 1 then
    owned[#owned + 1] = entries[i]
    if indexed then gone[#gone + 1] = ids[i] end
    local kind, lock = ARGV[4 + 2 * n + i], ARGV[4 + 3 * n + i]
    counts[kind] = (counts[kind] or 0) + 1
    if lock ~= '' then
      local held = redis.call('HGET', KEYS[3], lock)
      if held and string.match(held, ' (.*)') == ids[i] then
        redis.call('HDEL', KEYS[3], lock)
      end
    end
  else
    refused[#refused + 1] = entries[i]
  end
end
if #owned > 0 then
  redis.call('XACK', KEYS[1], group, unpack(owned))
  redis.call('XDEL', KEYS[1], unpack(owned))
end
if #gone > 0 then
  redis.call('HDEL', KEYS[2], unpack(gone))
  if dirty == '1' then
    redis.call('HDEL', KEYS[6], unpack(gone))
    redis.call('HDEL', KEYS[7], unpack(gone))
    redis.call('HDEL', KEYS[8], unpack(gone))
    redis.call('HDEL', KEYS[11], unpack(gone))
  end
  if redis.call('EXISTS', KEYS[9]) == 1 then redis.call('HDEL', KEYS[9], unpack(gone)) end
end
for kind, count in pairs(counts) do
  redis.call('HINCRBY', KEYS[4], kind .. ':processed', count)
  redis.call('HINCRBY', KEYS[5], minute .. ':' .. kind .. ':processed', count)
  -- Only a field's first count can be a key's first.
  if redis.call('HINCRBY', KEYS[10], kind .. ':processed', count) == count then
    redis.call('EXPIRE', KEYS[10], 7948800)
  end
end
redis.call('EXPIRE', KEYS[5], 262800)
return refused
