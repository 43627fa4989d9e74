-- Pausing twice keeps the time of the first.
UPDATE gateways
SET paused = $2,
    paused_at = CASE WHEN $2 THEN coalesce(paused_at, clock_timestamp()) END
WHERE name = $1
