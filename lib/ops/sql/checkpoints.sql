SELECT count(*) AS "checkpoints!" FROM checkpoints
