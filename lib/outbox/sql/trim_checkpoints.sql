-- Of each (lane, epoch) the first and the last stay, as evidence of who came after whom. The lower bound keeps the scan away from
-- entries that were deleted before and that an old snapshot may keep in the index.
DELETE FROM checkpoints old
WHERE old.id > $1 AND old.id <= $2
  AND EXISTS (SELECT FROM checkpoints earlier
              WHERE earlier.lane = old.lane AND earlier.epoch = old.epoch AND earlier.id < old.id)
  AND EXISTS (SELECT FROM checkpoints later
              WHERE later.lane = old.lane AND later.epoch = old.epoch AND later.id > old.id)
