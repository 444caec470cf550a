-- The owner was here, and knows this bucket as it is.
--
-- KEYS: 1 meta (hash).  ARGV: 1 the version that is known, '' for a bucket that does not exist; 2 wall clock, ms.
-- Returns 1, or 0 where the version is another: then nothing is changed.

if (redis.call('HGET', KEYS[1], 'v') or '') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 't', ARGV[2])
return 1
