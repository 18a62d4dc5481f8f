-- Tell whether a list of words has one of them.
-- Takes  list (see `with_newest`), word
-- Returns  true or false
local function is_listed(list, word)
  return string.find(' ' .. list .. ' ', ' ' .. word .. ' ', 1, true) ~= nil
end
