-- Tell by which cadence a slot was claimed.
-- Takes  what was kept, "slot-ms cadence" (nil: nothing), slot-ms as text (nil: none)
-- Returns  the cadence; nil: nobody knows, for a release that keeps none has claimed since
local function cadence_at(kept, slot)
  local at, cadence = string.match(kept or '', '^(%d+) (.*)$')
  return at == slot and cadence or nil
end
