-- Run, archive or delete one task for an operator, in any state that allows it.
-- KEYS  stream index scheduled retry archived completed quarantined records tries history
--       results locks cancels aggregating members groups claims
-- ARGV  now_ms (0: the broker's clock), group, operation (run archive delete), id,
--       lock (digest; "": none; run takes it, the others release it), lock_ttl_ms,
--       seen_state (the only state in which to do it; "": any that allows it), seen_ms (of an ended
--       task: its score in its set then; -1: any)
-- Returns  "ok", "missing", the state of a task that does not allow it or has moved on since it was
--          seen, or "locked" and the id that holds the lock
-- Invariant  a task that a server holds is never touched; a group goes with its last member, whoever
--            has claimed it
-- Uses  clock is_pending read_entry append reindex lock_holder unlock forget drop_empty_group wrong_type
local now = clock(now_ms)
local place = redis.call('HGET', index, id)
if not place then return 'missing' end
local sets = { scheduled = scheduled, retry = retry, archived = archived, completed = completed,
  quarantined = quarantined, aggregating = aggregating }
local state, data = place, nil
if not sets[place] then
  state = is_pending(stream, group, place) and 'active' or 'waiting'
end
if not ALLOWED[operation][state] then return state end
if seen_state ~= '' and state ~= seen_state then return state end
if seen_ms >= 0 and sets[state] then
  -- In the same state again: it has been run again meanwhile, and ended anew.
  local score = redis.call('ZSCORE', sets[state], id) or -1
  if math.abs(score - seen_ms) >= 1 then return state end
end
local holder = lock_holder(locks, lock, now)
if operation == 'run' and holder and holder ~= id then return 'locked ' .. holder end

local hashes, sorted_sets = {}, {}
if state == 'waiting' then hashes[tries] = true else hashes[records] = true end
if state == 'aggregating' then
  hashes[claims], sorted_sets[members], sorted_sets[groups] = true, true, true
end
if operation == 'archive' then hashes[records], sorted_sets[archived] = true, true end
local wrong = wrong_type(hashes, sorted_sets, { [stream] = true })
if wrong then return wrong end

if state == 'waiting' then
  local entry, found, tries_text = read_entry(stream, place)
  data = found
  if tries_text then redis.call('HSET', tries, id, tries_text) end
  if entry then redis.call('XDEL', stream, place) end
else
  data = redis.call('HGET', records, id)
  if state == 'aggregating' then
    local ok, message = pcall(cjson.decode, data or '')
    local group_label = ok and type(message) == 'table' and type(message.labels) == 'table' and message.labels.group
    local joined = string.format('%013.0f', redis.call('ZSCORE', aggregating, id) or 0)
    if type(group_label) == 'table' then
      local name = tostring(group_label[1])
      redis.call('ZREM', members, name .. '\n' .. joined .. '\n' .. id)
      drop_empty_group({ groups = groups, members = members, claims = claims }, name)
    end
  end
  redis.call('ZREM', sets[state], id)
end
if operation == 'run' then
  if not data then
    redis.call('ZADD', quarantined, string.format('%.0f', now), id)
    redis.call('HSET', index, id, 'quarantined')
    return 'missing'
  end
  forget({ records, tries }, id)
  reindex(index, history, id, append(stream, data, '0 0'), data)
  if lock ~= '' and not holder then
    redis.call('HSET', locks, lock, string.format('%.0f', now + lock_ttl_ms) .. ' ' .. id)
  end
elseif operation == 'archive' then
  redis.call('ZADD', archived, string.format('%.0f', now), id)
  redis.call('HSET', records, id, data or '')
  redis.call('HSET', index, id, 'archived')
  forget({ cancels }, id)
else
  forget({ records, tries, history, results, cancels, index }, id)
end
if operation ~= 'run' then unlock(locks, lock, id) end
return 'ok'
