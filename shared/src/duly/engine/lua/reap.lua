-- Take the tasks of a dead server: they wait again, or are quarantined after too many crashes.
-- KEYS  stream index leases history totals hour records tries quarantined locks
--       cancels day
-- ARGV  now-ms (0: the server's), group, server id, lease-ms, most crashes, minute of the hour,
--       most tasks to take
-- Returns  -1 when the server lives, else: tasks that wait again, tasks quarantined, 1 if done,
--          [task id, kind ("-": not known), ...] of those quarantined
-- Invariant  a crash counts apart from failed attempts; a late heartbeat wins
-- Uses  clock read_entry unlock append count
local now = clock(ARGV[1])
local group, server, batch = ARGV[2], ARGV[3], tonumber(ARGV[7])
local lease = redis.call('ZSCORE', KEYS[3], server)
if lease and tonumber(lease) > now then return -1 end
-- Without a lease at all only what has been idle for a lease's time is surely abandoned.
local idle = lease and 0 or ARGV[4]
local held = redis.call('XPENDING', KEYS[1], group, 'IDLE', idle, '-', '+', batch, server)
local back, quarantined, letters = 0, 0, {}
for i = 1, #held do
  local entry = held[i][1]
  local fields, data, tries = read_entry(KEYS[1], entry)
  redis.call('XACK', KEYS[1], group, entry)
  if fields then
    local attempts, crashes, rest = string.match(tries or '0 0', '^(%d+) (%d+)( ?%d*)')
    attempts, crashes = tonumber(attempts or 0), tonumber(crashes or 0) + 1
    tries = attempts .. ' ' .. crashes .. (rest or '')
    local ok, message = pcall(cjson.decode, data or '')
    local id, kind, ours = entry, '-', false
    if ok and type(message) == 'table' then
      local name = message.task_name
      if type(name) == 'string' and #name <= 64 and string.find(name, '^[a-z0-9_.%-]+$') then kind = name end
      if type(message.task_id) == 'string' and redis.call('HGET', KEYS[2], message.task_id) == entry then
        id, ours = message.task_id, true
      end
    end
    local line = cjson.encode({ number = attempts + 1, outcome = 'crashed', at = now, duration = 0,
      server = server, error = 'its server died', traceback = '' })
    local old = redis.call('HGET', KEYS[4], id)
    if old then line = line .. '\n' .. string.sub(old, 1, 262144) end
    if not data or crashes >= tonumber(ARGV[5]) then
      redis.call('ZADD', KEYS[9], string.format('%.0f', now), id)
      redis.call('HSET', KEYS[7], id, data or cmsgpack.pack(fields))
      redis.call('HSET', KEYS[8], id, tries)
      redis.call('HSET', KEYS[2], id, 'quarantined')
      redis.call('HSET', KEYS[4], id, line)
      redis.call('HDEL', KEYS[11], id)
      local lock = ok and type(message) == 'table' and type(message.labels) == 'table' and message.labels.lock
      if type(lock) == 'string' then unlock(KEYS[10], lock, id) end
      quarantined = quarantined + 1
      letters[#letters + 1], letters[#letters + 2] = id, kind
    else
      local new = append(KEYS[1], data, tries)
      if ours then
        redis.call('HSET', KEYS[2], id, new)
        redis.call('HSET', KEYS[4], id, line)
      end
      back = back + 1
    end
    redis.call('XDEL', KEYS[1], entry)
    count(KEYS[5], KEYS[6], KEYS[12], ARGV[6], kind .. ':crashed', 1)
  end
end
redis.call('EXPIRE', KEYS[6], 262800)
local done = 0
-- Between two batches a heartbeat may come: it must learn that tasks have been taken.
if lease and #held > 0 then redis.call('ZADD', KEYS[3], 0, server) end
if #held < batch then
  done = 1
  if #redis.call('XPENDING', KEYS[1], group, '-', '+', 1, server) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], group, server)
    redis.call('ZREM', KEYS[3], server)
  end
end
return { back, quarantined, done, letters }
