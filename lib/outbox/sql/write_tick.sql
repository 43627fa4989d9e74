-- A tick every 250 ms of traffic, fleet-wide: whoever comes first writes it. Looking at the newest by id is enough; two that race
-- only make two short slices. A clock that jumped back must not stop the ticks, hence BETWEEN.
INSERT INTO outbox_ticks (snapshot, written)
SELECT pg_current_snapshot(), outbox_id.last_value
FROM outbox_id
WHERE NOT EXISTS (
    SELECT FROM (SELECT at, written FROM outbox_ticks ORDER BY id DESC LIMIT 1) newest
    WHERE newest.written = outbox_id.last_value
       OR newest.at BETWEEN clock_timestamp() - $1::bigint * interval '1 millisecond' AND clock_timestamp()
)
