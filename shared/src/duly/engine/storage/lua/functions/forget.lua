-- Remove fields from hashes, if they are there: a key of a wrong type has none.
-- Takes  keys of the hashes, the fields
-- Returns  nothing
local function forget(keys, ...)
  for _, key in ipairs(keys) do redis.pcall('HDEL', key, ...) end
end
