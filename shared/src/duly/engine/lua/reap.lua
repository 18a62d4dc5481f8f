-- Take the tasks of a dead server: they wait again, or are quarantined after too many crashes.
-- KEYS  stream index leases history totals hour records tries quarantined locks
--       cancels day
-- ARGV  now-ms (0: the server's), group, server id, lease-ms, most crashes, minute of the hour,
--       most tasks to take
-- Returns  -1 when the server lives, else: tasks that wait again, tasks quarantined, 1 if done,
--          [task id, kind ("-": not known), ...] of those quarantined
-- Invariant  a crash counts apart from failed attempts; a late heartbeat wins
local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local group, server, batch = ARGV[2], ARGV[3], tonumber(ARGV[7])
local lease = redis.call('ZSCORE', KEYS[3], server)
if lease and tonumber(lease) > now then return -1 end
-- Without a lease at all only what has been idle for a lease's time is surely abandoned.
local idle = lease and 0 or ARGV[4]
local held = redis.call('XPENDING', KEYS[1], group, 'IDLE', idle, '-', '+', batch, server)
local back, quarantined, letters = 0, 0, {}
for i = 1, #held do
  local entry = held[i][1]
  local found = redis.call('XRANGE', KEYS[1], entry, entry)[1]
  redis.call('XACK', KEYS[1], group, entry)
  if found then
    local data, tries
    for k = 1, #found[2], 2 do
      if found[2][k] == 'data' then data = found[2][k + 1] end
      if found[2][k] == 'tries' then tries = found[2][k + 1] end
    end
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
      redis.call('HSET', KEYS[7], id, data or cmsgpack.pack(found[2]))
      redis.call('HSET', KEYS[8], id, tries)
      redis.call('HSET', KEYS[2], id, 'quarantined')
      redis.call('HSET', KEYS[4], id, line)
      redis.call('HDEL', KEYS[11], id)
      local lock = ok and type(message) == 'table' and type(message.labels) == 'table' and message.labels.lock
      local holder = type(lock) == 'string' and redis.call('HGET', KEYS[10], lock)
      if holder and string.match(holder, ' (.*)') == id then
        redis.call('HDEL', KEYS[10], lock)
      end
      quarantined = quarantined + 1
      letters[#letters + 1], letters[#letters + 2] = id, kind
    else
      local new = redis.call('XADD', KEYS[1], '*', 'data', data, 'tries', tries)
      if ours then
        redis.call('HSET', KEYS[2], id, new)
        redis.call('HSET', KEYS[4], id, line)
      end
      back = back + 1
    end
    redis.call('XDEL', KEYS[1], entry)
    redis.call('HINCRBY', KEYS[5], kind .. ':crashed', 1)
    redis.call('HINCRBY', KEYS[6], ARGV[6] .. ':' .. kind .. ':crashed', 1)
    redis.call('HINCRBY', KEYS[12], kind .. ':crashed', 1)
  end
end
redis.call('EXPIRE', KEYS[6], 262800)
redis.call('EXPIRE', KEYS[12], 7948800)
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
