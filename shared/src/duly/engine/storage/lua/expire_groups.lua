-- Drop due groups that have no members, whoever could merge them, and members that have left them.
-- KEYS  groups members claims aggregating
-- ARGV  now_ms (0: the broker's clock), passed (due groups to pass over: an earlier call has looked at
--       them), most (how many to look at)
-- Returns  how many to pass over in the next call (0: begin anew), how many were dropped
-- Invariant  a group with a task in it stays, and one that is claimed, since that is not due
-- Uses  clock drop_empty_group wrong_type
local wrong = wrong_type({ [claims] = true }, { [groups] = true, [members] = true, [aggregating] = true })
if wrong then return wrong end
local due = redis.call('ZRANGEBYSCORE', groups, '-inf', string.format('%.0f', clock(now_ms)), 'LIMIT', passed, most)
local keys, dropped = { groups = groups, members = members, claims = claims }, 0
for _, group in ipairs(due) do
  local low, high, stays = '[' .. group .. '\n', '[' .. group .. '\n\255', false
  for _, name in ipairs(redis.call('ZRANGEBYLEX', members, low, high, 'LIMIT', 0, 100)) do
    local time = redis.call('ZSCORE', aggregating, string.sub(name, #group + 16))
    stays = time and tonumber(time) == tonumber(string.sub(name, #group + 2, #group + 14))
    if stays then break end
    redis.call('ZREM', members, name)
  end
  if not stays and drop_empty_group(keys, group) then dropped = dropped + 1 end
end
return { #due < most and 0 or passed + #due - dropped, dropped }
