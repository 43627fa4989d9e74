-- GCRA (the generic cell rate algorithm): the bucket holds one number, the theoretical arrival time of the next request.
-- Time is Redis's own, in microseconds, so that all processes agree. Answers {allowed, remaining, retry_us, reset_us}.
local function rate_limit(bucket, interval_us, burst)
  local clock = redis.call('TIME')
  local now = clock[1] * 1000000 + clock[2]
  local full = interval_us * burst
  local arrival = tonumber(redis.call('GET', bucket)) or now
  -- A bucket restored from an old copy, or written before the clock was set back, must not lock anyone out for longer than a full one.
  arrival = math.min(math.max(arrival, now), now + full)
  local after = arrival + interval_us
  if after - now > full then
    return { 0, 0, after - full - now, arrival - now }
  end
  redis.call('SET', bucket, string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
  return { 1, math.floor((full - (after - now)) / interval_us), 0, after - now }
end
