-- Refuse keys of a wrong type before anything is written: a script that fails half-way is not undone.
-- Takes  sets of keys: hashes, sorted sets, streams (nil: none); by commands that all users may run
-- Returns  the error to return, which names the key; nil: each is of its type, or missing
local function wrong_type(hashes, sorted_sets, streams)
  local wrong
  local function look(key, kind, answer)
    if wrong or type(answer) ~= 'table' then return end
    wrong = answer
    if string.find(answer.err, 'WRONGTYPE', 1, true) then
      wrong = redis.error_reply('WRONGTYPE ' .. key .. ' is no ' .. kind)
    end
  end
  for key in pairs(hashes or {}) do look(key, 'hash', redis.pcall('HEXISTS', key, '')) end
  for key in pairs(sorted_sets or {}) do look(key, 'sorted set', redis.pcall('ZCARD', key)) end
  for key in pairs(streams or {}) do look(key, 'stream', redis.pcall('XLEN', key)) end
  return wrong
end
