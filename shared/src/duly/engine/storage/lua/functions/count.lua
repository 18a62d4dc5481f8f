-- Count outcomes of a kind: in total, in this minute, on this day. Where somebody has put something
-- else in the place of a count, it is not counted: no task waits for that.
-- Takes  keys of totals, hour and day, minute of the hour, "kind:outcome", how many
-- Returns  nothing; the hour's key gets its end by the script, once for all counts
local function count(totals, hour, day, minute, field, number)
  redis.pcall('HINCRBY', totals, field, number)
  redis.pcall('HINCRBY', hour, minute .. ':' .. field, number)
  -- Only a field's first count can be a key's first.
  if redis.pcall('HINCRBY', day, field, number) == number then
    redis.call('EXPIRE', day, 7948800)
  end
end
