-- Is slot $1 behind us: not the one that is written to, and no row of it outside any lane's stored cursor? A cursor of another history
-- proves nothing, so everything is outside it. A row is outside a cursor if its transaction came after it, or was running when its
-- snapshot was taken: two ranges of the index, so that the answer costs the same for a slot of any size.
WITH cursor AS MATERIALIZED (
    SELECT lanes.lane,
           CASE WHEN latest.ours THEN pg_snapshot_xmax(latest.from_snapshot) ELSE '0'::xid8 END AS since,
           CASE WHEN latest.ours THEN ARRAY(SELECT pg_snapshot_xip(latest.from_snapshot)) ELSE '{}' END AS late
    FROM lanes
    LEFT JOIN LATERAL (
        SELECT from_snapshot,
               system_identifier = $2 AND timeline = $3
               AND pg_snapshot_xmax(from_snapshot) <= pg_snapshot_xmax(pg_current_snapshot()) AS ours
        FROM checkpoints
        WHERE checkpoints.lane = lanes.lane
        ORDER BY checkpoints.epoch DESC, checkpoints.id DESC
        LIMIT 1
    ) latest ON true
)
SELECT ring.slot <> $1
       AND NOT EXISTS (
           SELECT FROM cursor
           WHERE EXISTS (SELECT FROM outbox WHERE outbox.slot = $1 AND outbox.lane = cursor.lane AND outbox.xid >= cursor.since)
       )
       AND NOT EXISTS (
           SELECT FROM cursor, unnest(cursor.late) AS late (xid)
           WHERE EXISTS (SELECT FROM outbox WHERE outbox.slot = $1 AND outbox.lane = cursor.lane AND outbox.xid = late.xid)
       ) AS "passed!"
FROM outbox_ring ring
