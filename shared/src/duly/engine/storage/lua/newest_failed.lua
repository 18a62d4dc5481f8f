-- Report the newest failed tasks of several queues, with what they are grouped by: one call for many queues.
-- KEYS  archived quarantined records history. These for each queue
-- ARGV  most_bytes (of messages and histories; what comes after them is left out)
-- ROWS  list: most (of archived and then of quarantined tasks of each queue)
-- Returns  for each queue nil when it cannot be read, or for each of its two lists: whether it was left out
--          or cut off (1, else 0), then id, score, message and history of each task, nil where there is none
-- Invariant  nothing is changed
local size = 0

local function newest(at, list, most)
  local answer = { 0 }
  if most < 1 then return answer end
  local found = redis.call('ZREVRANGE', KEYS[at + list], 0, most - 1, 'WITHSCORES')
  for k = 1, #found, 2 do
    if size > most_bytes then
      answer[1] = 1
      break
    end
    local message = redis.call('HGET', KEYS[at + KEY_RECORDS], found[k])
    local history = redis.call('HGET', KEYS[at + KEY_HISTORY], found[k])
    size = size + #(message or '') + #(history or '')
    local last = #answer
    answer[last + 1], answer[last + 2], answer[last + 3], answer[last + 4] = found[k], found[k + 1], message, history
  end
  return answer
end

local answers, row = {}, FIRST
for at = 0, #KEYS - 1, KEYS_SIZE do
  local archived, quarantined = tonumber(ARGV[row + LIST_MOST]), tonumber(ARGV[row + LIST_SIZE + LIST_MOST])
  local read, answer = pcall(function()
    return { newest(at, KEY_ARCHIVED, archived), newest(at, KEY_QUARANTINED, quarantined) }
  end)
  answers[#answers + 1] = read and answer
  row = row + 2 * LIST_SIZE
end
return answers
