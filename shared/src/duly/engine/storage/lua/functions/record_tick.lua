-- Record and count what a slot of an entry came to. Where history or counts cannot be written, the
-- tick happens all the same.
-- Takes  keys of the history and of ticks, how many ticks are kept, entry, slot-ms, outcome, task id
-- Returns  nothing
local function record_tick(history, ticks, most, entry, slot, outcome, task)
  redis.pcall('XADD', history, 'MAXLEN', '~', most, '*', 'slot', slot, 'outcome', outcome,
    'task', task)
  -- Of missed slots more are counted than recorded.
  if outcome ~= 'missed' then redis.pcall('HINCRBY', ticks, entry .. ':' .. outcome, 1) end
end
