-- Requeue active tasks: they wait again, at the end of the stream.
-- KEYS  stream index results
-- ARGV  group
-- ROWS  task: stream_id, id ("": not known), tries_text (what is kept beside it from now on; "": what is)
-- Returns  how many were requeued
-- Invariant  attempts and crashes stay as they were; a partial result goes, since nobody else
--            would remove it
-- Uses  read_entry append forget wrong_type
local wrong = wrong_type({ [index] = true })
if wrong then return wrong end
local back = 0
for at = FIRST, #ARGV, TASK_SIZE do
  local stream_id, id = ARGV[at + TASK_STREAM_ID], ARGV[at + TASK_ID]
  local _, data, tries_text = read_entry(stream, stream_id)
  -- An entry without data stays: its lease expires and the reaper quarantines it.
  if data and redis.call('XACK', stream, group, stream_id) == 1 then
    local given = ARGV[at + TASK_TRIES_TEXT]
    local new = append(stream, data, given ~= '' and given or tries_text)
    redis.call('XDEL', stream, stream_id)
    if id ~= '' and redis.call('HGET', index, id) == stream_id then
      redis.call('HSET', index, id, new)
      forget({ results }, id)
    end
    back = back + 1
  end
end
return back
