-- Write an ended attempt into a task's history, before the older ones.
-- Takes  key of the history, task id, the attempt (JSON; "": none), how many attempts are kept
-- Returns  nothing
local function remember(history, id, attempt, most)
  if attempt == '' then return end
  local old = redis.call('HGET', history, id)
  if old then
    local cut = 0
    for _ = 1, most - 1 do
      cut = string.find(old, '\n', cut + 1, true)
      if not cut then break end
    end
    attempt = attempt .. '\n' .. (cut and string.sub(old, 1, cut - 1) or old)
  end
  redis.call('HSET', history, id, attempt)
end
