-- Claim the groups that are due, of the kinds that this server can merge.
-- KEYS  groups members records claims aggregating
-- ARGV  now_ms (0: the broker's clock), token, hold_ms (how long the claim lasts), most_groups,
--       most_members (of each group)
-- ROWS  mergeable: kind
-- Returns  per group: its name, how often it was claimed, and per member: id, data
-- Invariant  a group whose claim ends without a merge is due again, whatever became of the server
--            that had claimed it
-- Uses  clock wrong_type
local wrong = wrong_type({ [records] = true, [claims] = true },
  { [members] = true, [aggregating] = true })
if wrong then return wrong end
local now = clock(now_ms)
local kinds, found, size = {}, {}, 0
-- Bytes of one answer: members may be as large as tasks are, and a script's answer is held whole.
local enough = 8388608
for at = FIRST, #ARGV, MERGEABLE_SIZE do kinds[ARGV[at + MERGEABLE_KIND]] = true end
for _, group in ipairs(redis.call('ZRANGEBYSCORE', groups, '-inf', now, 'LIMIT', 0, 1000)) do
  if #found < most_groups and size < enough and kinds[string.match(group, '^[^:]*')] then
    local names = redis.call('ZRANGEBYLEX', members, '[' .. group .. '\n', '[' .. group .. '\n\255',
      'LIMIT', 0, most_members)
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
    if #names == 0 then
      redis.call('ZREM', groups, group)
      redis.call('HDEL', claims, group)
    elseif #chosen > 0 then
      local held = redis.call('HGET', claims, group)
      local times = tonumber(held and string.match(held, ' (%d+)$') or 0) + 1
      -- Later members are not claimed; a clock that was set back does not make these later ones.
      local last = tonumber(string.sub(names[#names], #group + 2, #group + 14)) or 0
      local since = string.format('%.0f', math.max(now, last))
      redis.call('HSET', claims, group, token .. ' ' .. since .. ' ' .. times)
      redis.call('ZADD', groups, string.format('%.0f', now + hold_ms), group)
      found[#found + 1] = { group, times, unpack(chosen) }
    end
  end
end
return found
