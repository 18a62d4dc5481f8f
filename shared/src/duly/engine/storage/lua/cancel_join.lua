-- Cancel a join: the task that waits for its members will not be enqueued.
-- KEYS  joins awaited outbox
-- ARGV  join
-- Returns  1, or 0 when there is no such join
-- Invariant  nothing of it is left; members that still report find nothing; a join that waits for it
--            is cancelled next
-- Uses  forget_join wrong_type
local wrong = wrong_type({ [joins] = true, [awaited] = true }, nil, { [outbox] = true })
if wrong then return wrong end
return forget_join(joins, awaited, outbox, join)
