-- Progress of several lanes, each only if its epoch is still the one that was given. The row lock makes it final: whoever wants to take
-- a lane waits until this has committed, and once it was taken no checkpoint of an older epoch can be written any more.
WITH given AS MATERIALIZED (
    SELECT *
    FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[])
        AS given (lane, epoch, from_snapshot, to_snapshot, last_id)
), owned AS MATERIALIZED (
    SELECT lanes.lane
    FROM lanes JOIN given ON given.lane = lanes.lane AND given.epoch = lanes.epoch
    ORDER BY lanes.lane
    FOR SHARE OF lanes
)
INSERT INTO checkpoints (lane, epoch, from_snapshot, to_snapshot, last_id, system_identifier, timeline)
SELECT given.lane, given.epoch, given.from_snapshot::pg_snapshot, given.to_snapshot::pg_snapshot, given.last_id, $6, $7
FROM given JOIN owned ON owned.lane = given.lane
RETURNING lane
