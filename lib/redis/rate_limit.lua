-- GCRA (the generic cell rate algorithm): the bucket holds one number, the theoretical arrival time of the next request.
-- Time is Redis's own, in microseconds, so that all processes agree. Answers {allowed, remaining, retry_us, reset_us}.
local function rate_limit(bucket, interval_us, burst)
  local clock = redis.call('TIME')
  local now = clock[1] * 1000000 + clock[2]
  local full = interval_us * burst
  local function keep(arrival)
    redis.call('SET', bucket, string.format('%.0f', arrival), 'PX', math.ceil((arrival - now) / 1000))
  end
  local arrival = math.max(tonumber(redis.call('GET', bucket)) or now, now)
  if arrival > now + full then
    -- Restored from an old copy, or written before the clock was set back: nobody is locked out for longer than a full bucket.
    arrival = now + full
    keep(arrival)
  end
  local after = arrival + interval_us
  if after - now > full then
    return { 0, 0, after - full - now, arrival - now }
  end
  keep(after)
  return { 1, math.floor((full - (after - now)) / interval_us), 0, after - now }
end
