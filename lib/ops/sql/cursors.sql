-- Each lane's stored cursor: whatever its snapshot sees has been delivered.
SELECT DISTINCT ON (lane) lane, from_snapshot::text AS "from_snapshot!"
FROM checkpoints
ORDER BY lane, epoch DESC, id DESC
