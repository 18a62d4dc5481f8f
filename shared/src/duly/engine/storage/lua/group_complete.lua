-- End the claim of a group: one task in its members' place, or the members archived, or neither. Or
-- quarantine members that cannot be read: the claim of the others goes on.
-- KEYS  stream index locks records aggregating groups members claims archived history totals
--       quarantined hour day
-- ARGV  now_ms (0: the broker's clock), token, group, outcome (merge archive quarantine back),
--       minute (of the hour), in_ms (when the rest of the group is due), id (of the merged task), data,
--       lock (digest; "": none), lock_ttl_ms, attempt (JSON, when archived or quarantined)
-- ROWS  member: id, lock (digest; "": none)
-- Returns  "ok", or the ids of the members that were archived or quarantined: others had left before;
--          "lost": another server has claimed it; "changed": a member has left, look again;
--          or the id of the task that holds the merged one's id or lock
-- Invariant  the merged task is added in the step in which its members go
-- Uses  clock count lock_holder take_lock unlock forget wrong_type
local now = clock(now_ms)
local held = redis.call('HGET', claims, group)
local holder_token, since = string.match(held or '', '^(.*) (%d+) %d+$')
if holder_token ~= token then return 'lost' end
if outcome == 'back' then
  redis.call('ZADD', groups, string.format('%.0f', now + in_ms), group)
  return 'ok'
end

local ends_as = ({ archive = 'archived', quarantine = 'quarantined' })[outcome]
local ended = ({ archive = archived, quarantine = quarantined })[outcome]
local hashes, sorted_sets = { [index] = true, [records] = true },
  { [aggregating] = true, [members] = true, [groups] = true }
if ended then hashes[history], sorted_sets[ended] = true, true end
local wrong = wrong_type(hashes, sorted_sets, { [stream] = true })
if wrong then return wrong end

local function name(time, member)
  return group .. '\n' .. string.format('%013.0f', time) .. '\n' .. member
end

local joined, leaves = {}, {}
for at = FIRST, #ARGV, MEMBER_SIZE do
  -- Another task may have its id by now, in another group or in this one since the claim.
  local member = ARGV[at + MEMBER_ID]
  local time = redis.call('ZSCORE', aggregating, member)
  if time and tonumber(time) <= tonumber(since)
    and redis.call('ZSCORE', members, name(time, member)) then
    joined[at], leaves[member] = time, true
  end
  if not joined[at] and outcome == 'merge' then
    redis.call('ZADD', groups, string.format('%.0f', now), group)
    -- Nobody's failure, so it does not count as a try. Without its time the claim is over.
    redis.call('HSET', claims, group, token .. ' ' .. string.match(held, '%d+$') - 1)
    return 'changed'
  end
end
if outcome == 'merge' then
  local holder = lock_holder(locks, lock, now)
  -- A lock that a member holds is free once the member leaves.
  if holder and not leaves[holder] then return holder end
  if redis.call('HEXISTS', index, id) == 1 then return id end
end

-- A script that has deleted may add, however full the broker is.
redis.call('ZREM', aggregating, '')
local kind, gone = string.match(group, '^[^:]*'), {}
-- First: should the broker fail on the way, what is merged is there.
local merged_as = outcome == 'merge' and redis.call('XADD', stream, '*', 'data', data)
for at = FIRST, #ARGV, MEMBER_SIZE do
  local member = ARGV[at + MEMBER_ID]
  if joined[at] then
    gone[#gone + 1] = member
    redis.call('ZREM', aggregating, member)
    redis.call('ZREM', members, name(joined[at], member))
    unlock(locks, ARGV[at + MEMBER_LOCK], member)
    if outcome == 'merge' then
      forget({ index, records }, member)
    else
      redis.call('ZADD', ended, string.format('%.0f', now), member)
      redis.call('HSET', index, member, ends_as)
      redis.call('HSET', history, member, attempt)
    end
  end
end
if outcome == 'merge' then
  redis.call('HSET', index, id, merged_as)
  take_lock(locks, lock, id, now, lock_ttl_ms)
  redis.pcall('HINCRBY', totals, kind .. ':aggregated', #gone)
elseif #gone > 0 then
  count(totals, hour, day, minute, kind .. ':' .. ends_as, #gone)
  redis.call('EXPIRE', hour, 262800)
end
local left = redis.call('ZLEXCOUNT', members, '[' .. group .. '\n', '[' .. group .. '\n\255')
if outcome == 'quarantine' and left > 0 then return gone end
redis.call('HDEL', claims, group)
if left > 0 then
  redis.call('ZADD', groups, string.format('%.0f', now + in_ms), group)
else
  redis.call('ZREM', groups, group)
end
return ended and gone or 'ok'
