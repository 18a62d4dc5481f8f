-- Put a slot at the end of a list. Of those that have passed, and of those that lie ahead because a
-- clock was, the newest sixty are kept.
-- Takes  list (words separated by spaces, each of which begins with a slot-ms), word, now-ms
-- Returns  the list
local function with_newest(list, word, now)
  local words, passed, ahead = {}, {}, {}
  for known in string.gmatch(list, '%S+') do
    if known ~= word then words[#words + 1] = known end
  end
  words[#words + 1] = word
  for _, known in ipairs(words) do
    local slot = tonumber(string.match(known, '^%d+')) or 0
    local part = slot > now and ahead or passed
    part[#part + 1] = known
  end
  words = {}
  for _, part in ipairs({ passed, ahead }) do
    for place = math.max(1, #part - 59), #part do words[#words + 1] = part[place] end
  end
  return table.concat(words, ' ')
end
