-- Claim the groups that are due, of the kinds that this server can merge.
-- KEYS  groups members records claims aggregating
-- ARGV  now_ms (0: the broker's clock), token, hold_ms (how long the claim lasts), most_groups,
--       most_members (of each group), passed (groups of those due to pass over: an earlier call
--       has looked at them)
-- ROWS  mergeable: kind
-- Returns  how many to pass over in the next call (0: begin anew), then per group: its name, how
--          often it was claimed, and per member: id, data
-- Invariant  a group whose claim ends without a merge is due again, whatever became of the server
--            that had claimed it; groups that nobody merges here keep back no others
-- Uses  clock wrong_type
local wrong = wrong_type({ [records] = true, [claims] = true },
  { [members] = true, [aggregating] = true })
if wrong then return wrong end
local now = clock(now_ms)
local kinds, found, size = {}, {}, 0
-- Bytes of one answer: members may be as large as tasks are, and a script's answer is held whole.
local enough = 8388608
for at = FIRST, #ARGV, MERGEABLE_SIZE do kinds[ARGV[at + MERGEABLE_KIND]] = true end

-- Tells whether the group stays where it is among those that are due.
local function claim(group)
  local names = redis.call('ZRANGEBYLEX', members, '[' .. group .. '\n', '[' .. group .. '\n\255',
    'LIMIT', 0, most_members)
  if #names == 0 then
    redis.call('ZREM', groups, group)
    redis.call('HDEL', claims, group)
    return false
  end
  local chosen = {}
  for i = 1, #names do
    local id = string.sub(names[i], #group + 16)
    if not redis.call('ZSCORE', aggregating, id) then
      redis.call('ZREM', members, names[i]) -- of a task that somebody deleted by hand
    elseif size < enough then
      local data = redis.call('HGET', records, id) or ''
      size = size + #data
      chosen[#chosen + 1] = id
      chosen[#chosen + 1] = data
    end
  end
  if #chosen == 0 then return true end
  local held = redis.call('HGET', claims, group)
  local times = tonumber(held and string.match(held, ' (%d+)$') or 0) + 1
  -- Later members are not claimed; a clock that was set back does not make these later ones.
  local last = tonumber(string.sub(names[#names], #group + 2, #group + 14)) or 0
  local since = string.format('%.0f', math.max(now, last))
  redis.call('HSET', claims, group, token .. ' ' .. since .. ' ' .. times)
  redis.call('ZADD', groups, string.format('%.0f', now + hold_ms), group)
  found[#found + 1] = { group, times, unpack(chosen) }
  return false
end

-- One call looks at 10,000 groups, which takes the broker some milliseconds.
local place = passed
for _ = 1, 10 do
  local page = redis.call('ZRANGE', groups, place, place + 999, 'WITHSCORES')
  for i = 1, #page, 2 do
    if tonumber(page[i + 1]) > now then return { 0, unpack(found) } end
    if #found >= most_groups or size >= enough then return { place, unpack(found) } end
    if not kinds[string.match(page[i], '^[^:]*')] or claim(page[i]) then place = place + 1 end
  end
  if #page < 2000 then return { 0, unpack(found) } end
end
return { place, unpack(found) }
