-- Read a whole number where somebody may have put something else.
-- Takes  text (nil: nothing)
-- Returns  the number; nil: it is none, or larger than any that we write
local function whole_number(given)
  local text = tostring(given)
  return #text <= 16 and string.match(text, '^%-?%d+$') and tonumber(text) or nil
end
