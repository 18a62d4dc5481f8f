-- Hand active tasks back unchanged: they wait again, at the end of the stream.
-- KEYS  stream index results
-- ARGV  group, then per task: entry id, task id ("": not known)
-- Returns  how many were handed back
-- Invariant  attempts and crashes stay what they were; a draft goes, nobody would remove it
-- Uses  read_entry append
local back = 0
for a = 2, #ARGV, 2 do
  local entry, id = ARGV[a], ARGV[a + 1]
  local _, data, tries = read_entry(KEYS[1], entry)
  -- An entry without data stays: its lease runs out and the reaper quarantines it.
  if data and redis.call('XACK', KEYS[1], ARGV[1], entry) == 1 then
    local new = append(KEYS[1], data, tries)
    redis.call('XDEL', KEYS[1], entry)
    if id ~= '' and redis.call('HGET', KEYS[2], id) == entry then
      redis.call('HSET', KEYS[2], id, new)
      redis.call('HDEL', KEYS[3], id)
    end
    back = back + 1
  end
end
return back
