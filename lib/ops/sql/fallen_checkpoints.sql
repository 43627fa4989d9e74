-- Within a lane, in the order in which checkpoints were written: the epoch never falls and is never ahead of the lane's; none of an
-- older owner was written after the present one took the lane; and progress never goes back. Only `outbox rebase` puts a lane
-- elsewhere, under an incarnation of its own; it raises the epoch without an owner, so `taken_at` is then of the epoch before. A time that
-- later ones have not reached (`ahead`) is of before the clock was set back, and tells nothing of what came after what.
SELECT format('lane %s: checkpoint %s has epoch %s%s', lane, id, epoch,
              CASE WHEN epoch < highest THEN format(' after one with %s', highest)
                   WHEN epoch > coalesce(lane_epoch, -1) THEN format(', the lane itself is at %s', lane_epoch)
                   WHEN late THEN format(' and was written after the lane was taken with %s', lane_epoch)
                   WHEN rebased AND rebases > incarnation - 1 THEN ' and says that it was a rebase''s, which there was not'
                   ELSE format(' and goes back to transaction %s after %s', reached, furthest) END) AS "example!",
       count(*) OVER () AS "total!"
FROM (SELECT run.*,
             epoch < lane_epoch AND at > taken_at AND NOT ahead
                 AND NOT bool_or(rebased AND epoch = lane_epoch) OVER (PARTITION BY lane) AS late,
             max(reached) OVER (PARTITION BY lane, system_identifier, timeline, rebases ORDER BY id) AS furthest
      FROM (SELECT checkpoint.*, lanes.epoch AS lane_epoch, lanes.taken_at, ring.incarnation,
                   pg_snapshot_xmax(checkpoint.from_snapshot) AS reached,
                   checkpoint.at - interval '1 second' > least(clock_timestamp(), min(checkpoint.at) OVER later) AS ahead,
                   max(checkpoint.epoch) OVER lane AS highest,
                   count(*) FILTER (WHERE checkpoint.rebased) OVER lane AS rebases
            FROM checkpoints checkpoint
            LEFT JOIN lanes ON lanes.lane = checkpoint.lane
            LEFT JOIN outbox_ring ring ON true
            WINDOW lane AS (PARTITION BY checkpoint.lane ORDER BY checkpoint.id),
                   later AS (ORDER BY checkpoint.id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) run) history
WHERE epoch < highest OR epoch > coalesce(lane_epoch, -1) OR late OR (rebased AND rebases > incarnation - 1) OR reached < furthest
ORDER BY id
LIMIT 5
