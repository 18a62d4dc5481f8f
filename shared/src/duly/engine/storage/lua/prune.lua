-- Drop tasks that are past the bounds of a set, at most one batch of them.
-- KEYS  index records tries history results totals set
-- ARGV  now_ms (0: the broker's clock), max_age_ms (-1: any; 0: the score is the end),
--       max_count (-1: any), max_bytes (of messages, histories and results, by a sample; -1: any),
--       most (tasks to drop), count_as (name of the count of drops; "": none)
-- Returns  how many were dropped; call again while it is a whole batch
-- Invariant  of a task that is dropped nothing is left
-- Uses  clock forget wrong_type
local wrong = wrong_type({ [index] = true })
if wrong then return wrong end
local now = clock(now_ms)
local ids, expired = {}, 0
if max_age_ms >= 0 then
  ids = redis.call('ZRANGEBYSCORE', set, '-inf', now - max_age_ms, 'LIMIT', 0, most)
  expired = #ids
end
local left = redis.call('ZCARD', set) - expired

-- Bytes that a task takes here on average, by a sample of twenty from the whole set.
local function average()
  local sum, looked = 0, 0
  for i = 0, 19 do
    local place = -1 - math.floor(i * left / 20)
    local id = redis.call('ZRANGE', set, place, place)[1]
    if id then
      looked = looked + 1
      for _, key in ipairs({ records, history, results }) do
        local size = redis.pcall('HSTRLEN', key, id)
        sum = sum + (type(size) == 'number' and size or 0)
      end
    end
  end
  return looked > 0 and math.max(1, sum / looked) or 1
end

local over = max_count >= 0 and left - max_count or 0
if max_bytes >= 0 and left > 0 then over = math.max(over, left - math.floor(max_bytes / average())) end
if over > 0 and expired < most then
  local more = redis.call('ZRANGE', set, expired, expired + math.min(over, most - expired) - 1)
  for i = 1, #more do ids[#ids + 1] = more[i] end
end
if #ids > 0 then
  redis.call('ZREM', set, unpack(ids))
  forget({ index, records, tries, history, results }, unpack(ids))
  -- Whose own time was over has not been dropped.
  local dropped = max_age_ms == 0 and #ids - expired or #ids
  if count_as ~= '' and dropped > 0 then
    redis.pcall('HINCRBY', totals, '-:' .. count_as, dropped)
  end
end
return #ids
