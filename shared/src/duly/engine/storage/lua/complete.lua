-- Settle tasks that succeeded: acknowledge, delete, release their locks, count.
-- KEYS  stream index locks totals records tries history cancels results hour day
-- ARGV  group, minute (of the hour), dirty (1: some have tries, history or a partial result)
-- COLUMNS  stream_id, id, lock (digest; "": none). The first two alone: none has a lock.
-- ROWS  run: kind, number (consecutive tasks of this kind)
-- Returns  the stream ids that were refused: their server had lost its lease
-- Invariant  whoever acknowledges an entry owns it; nobody else may count or delete it
-- Uses  unlock count forget
local locked = width > 2
local places = redis.call('HMGET', index, unpack(ARGV, at_id + 1, at_id + n))
local all = true
for i = 1, n do
  if places[i] ~= ARGV[at_stream_id + i] then
    all = false
    break
  end
end

local refused, lost, owned, gone, counts = {}, {}, {}, {}, {}
if all then
  owned = { unpack(ARGV, at_stream_id + 1, at_stream_id + n) }
  gone = { unpack(ARGV, at_id + 1, at_id + n) }
end
local i = 0
for at = FIRST, #ARGV, RUN_SIZE do
  local kind, number = ARGV[at + RUN_KIND], tonumber(ARGV[at + RUN_NUMBER])
  if not all then
    local given = number
    for j = i + 1, i + given do
      -- What the index still names by this stream id has not changed hands. The index has no entry
      -- of a foreign message: there the acknowledgement itself decides.
      local stream_id = ARGV[at_stream_id + j]
      local indexed = places[j] == stream_id
      if indexed or redis.call('XACK', stream, group, stream_id) == 1 then
        owned[#owned + 1] = stream_id
        if indexed then gone[#gone + 1] = ARGV[at_id + j] end
      else
        refused[#refused + 1] = stream_id
        lost[j] = true
        number = number - 1
      end
    end
    i = i + given
  end
  if number > 0 then counts[kind] = (counts[kind] or 0) + number end
end

for j = 1, locked and n or 0 do
  if not lost[j] then unlock(locks, ARGV[at_lock + j], ARGV[at_id + j]) end
end
if #owned > 0 then
  -- In this order: where the user loses the right to delete, the entries stay this server's.
  redis.call('XDEL', stream, unpack(owned))
  redis.call('XACK', stream, group, unpack(owned))
end
if #gone > 0 then
  redis.call('HDEL', index, unpack(gone))
  if dirty == 1 then forget({ records, tries, history, results }, unpack(gone)) end
  if redis.call('EXISTS', cancels) == 1 then forget({ cancels }, unpack(gone)) end
end
for kind, number in pairs(counts) do
  count(totals, hour, day, minute, kind .. ':processed', number)
end
redis.call('EXPIRE', hour, 262800)
return refused
