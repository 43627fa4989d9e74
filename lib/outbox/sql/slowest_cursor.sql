-- The xmax that every lane's stored cursor has reached; NULL while there is a lane without one.
SELECT (CASE WHEN count(latest.since) = count(*) THEN min(latest.since::text::numeric)::text END) AS "slowest"
FROM lanes
LEFT JOIN LATERAL (
    SELECT pg_snapshot_xmax(from_snapshot) AS since
    FROM checkpoints
    WHERE checkpoints.lane = lanes.lane
    ORDER BY checkpoints.epoch DESC, checkpoints.id DESC
    LIMIT 1
) latest ON true
