-- Take the tasks of a dead server: they wait again, or are quarantined after too many crashes.
-- KEYS  stream index leases history totals records tries quarantined locks cancels kinds pulse
--       hour day
-- ARGV  now_ms (0: the broker's clock), group, server, lease_ms, max_crashes, minute (of the hour),
--       most (tasks to take), after (stream id of the last one that was looked at; "": none)
-- Returns  -1 when the server lives, else: tasks that wait again, tasks quarantined, 1 if done,
--          [task id, kind ("-": not known), ...] of those quarantined, the last stream id looked at,
--          why others stay that are to be quarantined ("": none do)
-- Invariant  a crash counts apart from failed attempts; a late heartbeat wins; an outage of the
--            broker is nobody's crash
-- Uses  clock read_entry unlock append count keep_pulse wrong_type
local wrong = wrong_type({ [index] = true })
if wrong then return wrong end
local now = clock(now_ms)
keep_pulse(pulse, leases, kinds, now, lease_ms)
local lease = redis.call('ZSCORE', leases, server)
if lease and tonumber(lease) > now then return -1 end
-- Without a lease at all only what has been idle for a lease's time is surely abandoned.
local idle = lease and 0 or lease_ms
local from = after == '' and '-' or '(' .. after
local held = redis.call('XPENDING', stream, group, 'IDLE', idle, from, '+', most, server)
local back, lost, letters, last, problem = 0, 0, {}, '', ''
local unkept = wrong_type({ [records] = true, [tries] = true }, { [quarantined] = true })
for i = 1, #held do
  local stream_id = held[i][1]
  last = stream_id
  local fields, data, tries_text = read_entry(stream, stream_id)
  local attempts, crashes, rest = string.match(tries_text or '0 0', '^(%d+) (%d+)( ?%d*)')
  attempts, crashes = tonumber(attempts or 0), tonumber(crashes or 0) + 1
  local gives_up = fields and (not data or crashes >= max_crashes)
  if not fields then
    redis.call('XACK', stream, group, stream_id)
  elseif gives_up and unkept then
    problem = unkept.err
  else
    tries_text = attempts .. ' ' .. crashes .. (rest or '')
    local ok, message = pcall(cjson.decode, data or '')
    local id, kind, ours = stream_id, '-', false
    if ok and type(message) == 'table' then
      local name = message.task_name
      if type(name) == 'string' and #name <= 64 and string.find(name, '^[a-z0-9_.%-]+$') then kind = name end
      if type(message.task_id) == 'string' and redis.call('HGET', index, message.task_id) == stream_id then
        id, ours = message.task_id, true
      end
    end
    local line = cjson.encode({ number = attempts + 1, outcome = 'crashed', at = now, duration = 0,
      server = string.gsub(server, '[^ -~]', '?'), error = 'its server died', traceback = '' })
    local old = redis.pcall('HGET', history, id)
    if type(old) == 'string' then line = line .. '\n' .. string.sub(old, 1, 262144) end
    if gives_up then
      redis.call('ZADD', quarantined, string.format('%.0f', now), id)
      redis.call('HSET', records, id, data or cmsgpack.pack(fields))
      redis.call('HSET', tries, id, tries_text)
      redis.call('HSET', index, id, 'quarantined')
      redis.pcall('HSET', history, id, line)
      redis.pcall('HDEL', cancels, id)
      local lock = ok and type(message) == 'table' and type(message.labels) == 'table' and message.labels.lock
      if type(lock) == 'string' then unlock(locks, lock, id) end
      lost = lost + 1
      letters[#letters + 1], letters[#letters + 2] = id, kind
    else
      local new = append(stream, data, tries_text)
      if ours then
        redis.call('HSET', index, id, new)
        redis.pcall('HSET', history, id, line)
      end
      back = back + 1
    end
    -- Last: should the broker fail on the way, the task is still its server's.
    redis.call('XACK', stream, group, stream_id)
    redis.call('XDEL', stream, stream_id)
    count(totals, hour, day, minute, kind .. ':crashed', 1)
  end
end
redis.call('EXPIRE', hour, 262800)
local done = 0
-- Between two batches a heartbeat may come: it must learn that tasks have been taken.
if lease and #held > 0 then redis.call('ZADD', leases, 0, server) end
if #held < most then
  done = 1
  if #redis.call('XPENDING', stream, group, '-', '+', 1, server) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', stream, group, server)
    redis.call('ZREM', leases, server)
  end
end
return { back, lost, done, letters, last, problem }
