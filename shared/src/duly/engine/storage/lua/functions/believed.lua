-- Tell which slot was claimed last. A claim is never of the future: where it lies further ahead than
-- clocks of replicas differ, a clock had jumped ahead and has returned. Ticks must not wait for it.
-- Takes  slot-ms of a claim (nil: none), now-ms, a slot-ms of the entry and the one after it
-- Returns  slot-ms (-1: none to go by)
local function believed(claimed, now, slot, following)
  local at = tonumber(claimed or -1) or -1
  return at <= now + math.min(5000, following - slot) and math.max(-1, at) or -1
end
