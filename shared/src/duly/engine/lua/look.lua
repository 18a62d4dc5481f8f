-- Read all that is known of one task, wherever it is.
-- KEYS  stream index records tries history results servers scheduled retry archived completed
--       quarantined aggregating
-- ARGV  group, task id
-- Returns  nothing when it is not here; else its state, history, result so far ("": none), then
--       waiting: entry id, its fields and values; active: these, its server, what that says of itself;
--       any other state: its score, data, tries ("": none)
-- Invariant  it changes nothing; all is of one moment, so a task that moves is not missed
-- Uses  read_entry
local id = ARGV[2]
local place = redis.call('HGET', KEYS[2], id)
if not place then return nil end
local history = redis.call('HGET', KEYS[5], id) or ''
local result = redis.call('HGET', KEYS[6], id) or ''
local sets = { scheduled = KEYS[8], retry = KEYS[9], archived = KEYS[10], completed = KEYS[11],
  quarantined = KEYS[12], aggregating = KEYS[13] }
if sets[place] then
  local score = redis.call('ZSCORE', sets[place], id)
  if not score then return nil end
  local data, tries = redis.call('HGET', KEYS[3], id), redis.call('HGET', KEYS[4], id)
  return { place, history, result, score, data or '', tries or '' }
end
local fields = read_entry(KEYS[1], place)
if not fields then return nil end
local held = redis.call('XPENDING', KEYS[1], ARGV[1], place, place, 1)[1]
if not held then return { 'waiting', history, result, place, fields } end
local described = redis.call('HGET', KEYS[7], held[2]) or ''
return { 'active', history, result, place, fields, held[2], described }
