-- Within a lane, in the order in which checkpoints were written, the epoch never falls; and no checkpoint is ahead of its lane.
SELECT format('lane %s: checkpoint %s has epoch %s%s', lane, id, epoch,
              CASE WHEN epoch < highest THEN format(' after one with %s', highest)
                   ELSE format(', the lane itself is at %s', lane_epoch) END) AS "example!",
       count(*) OVER () AS "total!"
FROM (SELECT checkpoint.lane, checkpoint.id, checkpoint.epoch, lanes.epoch AS lane_epoch,
             max(checkpoint.epoch) OVER (PARTITION BY checkpoint.lane ORDER BY checkpoint.id) AS highest
      FROM checkpoints checkpoint LEFT JOIN lanes ON lanes.lane = checkpoint.lane) history
WHERE epoch < highest OR epoch > coalesce(lane_epoch, -1)
ORDER BY id
LIMIT 5
