-- New rows of some lanes, each lane after its own cursor, and the snapshot that all of it was read in (the first row).
--
-- A lane's span begins at `earlier`: rows of transactions that were running then and have ended since (`late`), and of those that began
-- since. It ends at `later`, a frozen snapshot, or (NULL) with what is visible now. Both bounds are ranges of the index (lane, xid, id),
-- so a look costs what it finds, however long the outbox is. Of one late transaction, whose rows may be all of the ring (after a rebase),
-- a page only costs a page: under one number the index is in the order of the ids. `skip` is the last id of the span that was read before, `size` the page's.
WITH span AS MATERIALIZED (
    SELECT cursor.lane,
           pg_snapshot_xmax(cursor.earlier) AS since,
           ARRAY(
               SELECT running.xid
               FROM pg_snapshot_xip(cursor.earlier) AS running (xid)
               WHERE pg_visible_in_snapshot(running.xid, pg_current_snapshot())
           ) AS late,
           cursor.later,
           coalesce(pg_snapshot_xmax(cursor.later), '18446744073709551615'::xid8) AS until,
           cursor.skip,
           cursor.size
    FROM (
        SELECT given.lane, given.earlier::pg_snapshot AS earlier, given.later::pg_snapshot AS later, given.skip, given.size
        FROM unnest($1::smallint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[]) AS given (lane, earlier, later, skip, size)
    ) cursor
)
SELECT pg_current_snapshot()::text AS snapshot,
       NULL::smallint AS lane, NULL::bigint AS id, NULL::uuid AS aggregate, NULL::bigint AS seq, NULL::text AS topic,
       NULL::text AS kind, NULL::text AS traceparent, NULL::bytea AS payload, NULL::timestamptz AS at
UNION ALL
SELECT NULL, span.lane, page.*
FROM span
CROSS JOIN LATERAL (
    SELECT *
    FROM (
        SELECT id, aggregate, seq, topic, type, traceparent, payload, at
        FROM outbox
        WHERE outbox.lane = span.lane
          AND outbox.xid >= span.since AND outbox.xid < span.until
          AND outbox.id > span.skip
          AND (span.later IS NULL OR pg_visible_in_snapshot(outbox.xid, span.later))
        UNION ALL
        SELECT of_late.*
        FROM unnest(span.late) AS late (xid)
        CROSS JOIN LATERAL (
            SELECT id, aggregate, seq, topic, type, traceparent, payload, at
            FROM outbox
            WHERE outbox.lane = span.lane AND outbox.xid = late.xid AND outbox.id > span.skip
            ORDER BY id
            LIMIT span.size
        ) of_late
        WHERE span.later IS NULL OR pg_visible_in_snapshot(late.xid, span.later)
    ) found
    ORDER BY id
    LIMIT span.size
) page
