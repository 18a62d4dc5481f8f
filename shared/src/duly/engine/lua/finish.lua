-- Settle tasks that succeeded: acknowledge, delete, free their locks, count.
-- KEYS  stream index locks totals hour records tries history cancels day results
-- ARGV  group, minute of the hour, dirty ("1": some have tries, history or a draft), n,
--       locked ("1": some have locks), then n entry ids, n task ids, when locked n lock digests
--       ("": none), then kinds in the order of the tasks: kind, how many of it one after the other
-- Returns  the entry ids that were refused: their server had lost its lease
-- Invariant  whoever acknowledges an entry owns it; nobody else may count or delete it
-- Uses  unlock count
local group, minute, n, locked = ARGV[1], ARGV[2], tonumber(ARGV[4]), ARGV[5] == '1'
local entry, id = 5, 5 + n
local lock = locked and id + n or nil
local kind = (lock or id) + n

local places = redis.call('HMGET', KEYS[2], unpack(ARGV, id + 1, id + n))
local all = true
for i = 1, n do
  if places[i] ~= ARGV[entry + i] then
    all = false
    break
  end
end

local refused, lost, owned, gone, counts = {}, {}, {}, {}, {}
if all then
  owned, gone = { unpack(ARGV, entry + 1, entry + n) }, { unpack(ARGV, id + 1, id + n) }
end
local i = 0
for k = kind + 1, #ARGV, 2 do
  local number = tonumber(ARGV[k + 1])
  if not all then
    local given = number
    for j = i + 1, i + given do
      -- What the index still names by this entry has not changed hands. Entries of strangers are
      -- in no index: there the acknowledgement itself tells.
      local indexed = places[j] == ARGV[entry + j]
      if indexed or redis.call('XACK', KEYS[1], group, ARGV[entry + j]) == 1 then
        owned[#owned + 1] = ARGV[entry + j]
        if indexed then gone[#gone + 1] = ARGV[id + j] end
      else
        refused[#refused + 1] = ARGV[entry + j]
        lost[j] = true
        number = number - 1
      end
    end
    i = i + given
  end
  if number > 0 then counts[ARGV[k]] = (counts[ARGV[k]] or 0) + number end
end

for j = 1, locked and n or 0 do
  if not lost[j] then unlock(KEYS[3], ARGV[lock + j], ARGV[id + j]) end
end
if #owned > 0 then
  redis.call('XACK', KEYS[1], group, unpack(owned))
  redis.call('XDEL', KEYS[1], unpack(owned))
end
if #gone > 0 then
  redis.call('HDEL', KEYS[2], unpack(gone))
  if ARGV[3] == '1' then
    redis.call('HDEL', KEYS[6], unpack(gone))
    redis.call('HDEL', KEYS[7], unpack(gone))
    redis.call('HDEL', KEYS[8], unpack(gone))
    redis.call('HDEL', KEYS[11], unpack(gone))
  end
  if redis.call('EXISTS', KEYS[9]) == 1 then redis.call('HDEL', KEYS[9], unpack(gone)) end
end
for name, number in pairs(counts) do
  count(KEYS[4], KEYS[5], KEYS[10], minute, name .. ':processed', number)
end
redis.call('EXPIRE', KEYS[5], 262800)
return refused
