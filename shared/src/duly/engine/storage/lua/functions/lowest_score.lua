-- Give the lowest score of a sorted set, as it is: a stranger's may be anything.
-- Takes  key
-- Returns  the score; nil: the set is empty, or the key is of another type, which hides nothing else
local function lowest_score(key)
  return redis.pcall('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
end
