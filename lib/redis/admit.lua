-- One round trip for a request at the door: the cached credential, its rate limit, and its idempotency key.
-- KEYS: credential, bucket, [claim]. ARGV: interval_us (0: exempt), burst, [token, claim_ms].
-- Nothing is counted or claimed for a credential that is not cached. Answers {credential, limit, claimed}.
local credential = redis.call('GET', KEYS[1])
if not credential then
  return { false, false, false }
end
local limit = false
local interval_us = tonumber(ARGV[1])
if interval_us > 0 then
  limit = rate_limit(KEYS[2], interval_us, tonumber(ARGV[2]))
  if limit[1] == 0 then
    return { credential, limit, false }
  end
end
local claimed = false
if KEYS[3] then
  claimed = redis.call('SET', KEYS[3], ARGV[3], 'NX', 'GET', 'PX', ARGV[4])
end
return { credential, limit, claimed }
