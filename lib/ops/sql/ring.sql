-- Events still in the outbox or parked, and whether their lane's stored cursor has passed them.
SELECT event.aggregate AS "aggregate!", event.seq AS "seq!", event.topic AS "topic!", event.lane AS "lane!",
       sha256(event.payload) AS "hash!", false AS "parked!",
       coalesce(pg_visible_in_snapshot(event.xid, cursor.from_snapshot)
                OR (pg_visible_in_snapshot(event.xid, cursor.to_snapshot) AND event.id <= cursor.last_id), false) AS "passed!"
FROM outbox event
LEFT JOIN (SELECT DISTINCT ON (lane) lane, from_snapshot, to_snapshot, last_id
           FROM checkpoints ORDER BY lane, epoch DESC, id DESC) cursor ON cursor.lane = event.lane
UNION ALL
SELECT aggregate, seq, topic, lane, sha256(payload), true, true FROM parked
