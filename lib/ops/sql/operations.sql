-- Operations, and when the step that allowed each for the first time was committed. That is known only where the server keeps commit
-- times and the step's transaction number is of this server's own history (the outbox was never rebased).
SELECT operation.attempt_id, operation.kind, operation.key, operation.calls, operation.first_at,
       step.committed_at AS "committed_at?"
FROM operations operation
JOIN attempts attempt ON attempt.id = operation.attempt_id
LEFT JOIN LATERAL (
    SELECT CASE WHEN current_setting('track_commit_timestamp') = 'on' AND (SELECT incarnation = 1 FROM outbox_ring)
                THEN pg_xact_commit_timestamp(transition.xid::xid) END AS committed_at
    FROM transitions transition
    WHERE transition.transaction_id = attempt.transaction_id AND transition.attempt = attempt.number
      AND transition.cause LIKE 'begin:' || operation.kind || ':%'
    ORDER BY transition.version
    LIMIT 1
) step ON true
WHERE $1::uuid[] IS NULL OR operation.attempt_id = ANY($1)
