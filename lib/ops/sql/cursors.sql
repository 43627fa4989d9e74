-- Each lane's stored cursor: whatever its snapshot sees has been delivered. Of what the snapshot of its last rebase sees, that is not known.
SELECT DISTINCT ON (lane) lane, from_snapshot::text AS "from_snapshot!",
       (SELECT rebase.from_snapshot::text
        FROM checkpoints rebase
        WHERE rebase.lane = latest.lane AND rebase.rebased
        ORDER BY rebase.id DESC
        LIMIT 1) AS rebased_at
FROM checkpoints latest
ORDER BY lane, epoch DESC, id DESC
