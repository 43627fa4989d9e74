SELECT wanted.lane AS "lane!", latest.from_snapshot::text AS "from_snapshot?", latest.to_snapshot::text AS "to_snapshot?",
       latest.last_id AS "last_id?", latest.system_identifier AS "system_identifier?", latest.timeline AS "timeline?"
FROM unnest($1::smallint[]) AS wanted (lane)
LEFT JOIN LATERAL (
    SELECT *
    FROM checkpoints
    WHERE checkpoints.lane = wanted.lane
    ORDER BY checkpoints.epoch DESC, checkpoints.id DESC
    LIMIT 1
) latest ON true
