-- Claim the groups that are due, of the kinds that this server can merge.
-- KEYS  groups members records claims aggregating
-- ARGV  now-ms (0: the server's), token, claimed for so many ms, most groups, most members of each,
--       then the kinds
-- Returns  per group: its name, how often it was claimed, and per member: id, data
-- Invariant  a claim that is not merged in time makes the group due again, whatever became of the
--            server that had claimed it
-- Uses  clock
local now = clock(ARGV[1])
local kinds, found, size = {}, {}, 0
-- Bytes of one answer: members may be as large as tasks are, and a script's answer is held whole.
local enough = 8388608
for k = 6, #ARGV do kinds[ARGV[k]] = true end
for _, group in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1000)) do
  if #found < tonumber(ARGV[4]) and size < enough and kinds[string.match(group, '^[^:]*')] then
    local names = redis.call('ZRANGEBYLEX', KEYS[2], '[' .. group .. '\n', '[' .. group .. '\n\255',
      'LIMIT', 0, ARGV[5])
    local members = {}
    for i = 1, #names do
      local id = string.sub(names[i], #group + 16)
      if not redis.call('ZSCORE', KEYS[5], id) then
        redis.call('ZREM', KEYS[2], names[i]) -- of a task that somebody deleted by hand
      elseif size < enough then
        local data = redis.call('HGET', KEYS[3], id) or ''
        size = size + #data
        members[#members + 1] = id
        members[#members + 1] = data
      end
    end
    if #names == 0 then
      redis.call('ZREM', KEYS[1], group)
      redis.call('HDEL', KEYS[4], group)
    elseif #members > 0 then
      local held = redis.call('HGET', KEYS[4], group)
      local times = tonumber(held and string.match(held, ' (%d+)$') or 0) + 1
      -- Who joins later is not claimed; a clock that was set back does not make these later.
      local last = tonumber(string.sub(names[#names], #group + 2, #group + 14)) or 0
      local since = string.format('%.0f', math.max(now, last))
      redis.call('HSET', KEYS[4], group, ARGV[2] .. ' ' .. since .. ' ' .. times)
      redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[3]), group)
      found[#found + 1] = { group, times, unpack(members) }
    end
  end
end
return found
