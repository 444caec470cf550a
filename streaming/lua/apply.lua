-- One batch's changes to one bucket, all or nothing, under the bucket's version.
--
-- KEYS: 1 meta (hash), 2 rows (hash), 3 open states (hash), 4 due times (sorted set), 5 outbox (hash),
--       6 wants: product -> customers (sorted set with equal scores, ordered by member),
--       7 units ordered per product (sorted set)
-- ARGV: 1 the version that was read, '' for a bucket that does not exist; 2 the new version, never used before;
--       then thirteen sections, each a count followed by that many items (the width is the number of values of an item).
-- Returns {1} when written, {0, version found} when another writer was faster: then nothing is changed.

local found = redis.call('HGET', KEYS[1], 'v') or ''
if found ~= ARGV[1] then
  return {0, found}
end

local at = 3
local function section(width, act)
  local count = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, count do
    act(ARGV[at], ARGV[at + 1])
    at = at + width
  end
end

section(2, function(user, row) redis.call('HSET', KEYS[2], user, row) end)
section(1, function(user) redis.call('HDEL', KEYS[2], user) end)
section(2, function(user, state) redis.call('HSET', KEYS[3], user, state) end)
section(1, function(user) redis.call('HDEL', KEYS[3], user) end)
section(2, function(user, due_ms) redis.call('ZADD', KEYS[4], due_ms, user) end)
section(1, function(user) redis.call('ZREM', KEYS[4], user) end)
section(2, function(id, entry) redis.call('HSET', KEYS[5], id, entry) end)
section(1, function(member) redis.call('ZADD', KEYS[6], 0, member) end)
section(1, function(member) redis.call('ZREM', KEYS[6], member) end)
section(1, function(field) redis.call('HDEL', KEYS[1], field) end)
section(2, function(field, value) redis.call('HSET', KEYS[1], field, value) end)
section(2, function(field, amount) redis.call('HINCRBY', KEYS[1], field, amount) end)
section(2, function(product, units) redis.call('ZINCRBY', KEYS[7], units, product) end)

redis.call('HSET', KEYS[1], 'v', ARGV[2])
return {1}
