-- Takes up to $2 lanes that nobody alive holds. A new epoch for each: from here on nobody else's checkpoint of them is accepted. A clock
-- that jumped back must not make the lease of a frozen holder longer, hence BETWEEN.
UPDATE lanes
SET relay = $1, epoch = lanes.epoch + 1, taken_at = clock_timestamp()
WHERE lanes.lane IN (
    SELECT free.lane
    FROM lanes free
    WHERE NOT EXISTS (
        SELECT FROM connected_relays holder
        WHERE holder.id = free.relay
          AND holder.beat_at BETWEEN clock_timestamp() - $3::bigint * interval '1 millisecond'
                                 AND clock_timestamp() + $3::bigint * interval '1 millisecond'
    )
    ORDER BY free.lane
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
RETURNING lanes.lane, lanes.epoch
