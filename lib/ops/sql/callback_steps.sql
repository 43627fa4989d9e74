-- Steps that a callback caused, against the stored callback that their cause names, and the other way round. Only what was verified is
-- ever stored.
SELECT format('%s %s', subject, what) AS "example!", count(*) OVER () AS "total!"
FROM (SELECT format('%s version %s (%s)', step.transaction_id, step.version, step.cause) AS subject,
             CASE WHEN callback.id IS NULL THEN 'follows from no callback that was stored'
                  WHEN callback.transaction_id IS DISTINCT FROM step.transaction_id THEN 'follows from a callback about another payment'
                  WHEN attempt.id IS NULL THEN 'follows from a callback of a gateway where that attempt never was'
                  WHEN callback.state <> 'applied' THEN 'follows from a callback that is ' || callback.state END AS what
      FROM (SELECT transaction_id, version, cause,
                   substring(cause from '^callback:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})')::uuid AS named
            FROM transitions
            WHERE actor = 'callback' OR cause LIKE 'callback:%') step
      LEFT JOIN callbacks callback ON callback.id = step.named
      LEFT JOIN attempts attempt ON attempt.id = callback.attempt_id AND attempt.transaction_id = step.transaction_id
                                AND attempt.gateway = callback.gateway
      UNION ALL
      SELECT format('callback %s', callback.id), 'is applied, and no step follows from it'
      FROM callbacks callback
      WHERE callback.state = 'applied'
        AND NOT EXISTS (SELECT FROM transitions step
                        WHERE step.transaction_id = callback.transaction_id
                          AND step.cause IN ('callback:' || callback.id, 'callback:' || callback.id || ':contradicts'))) told
WHERE what IS NOT NULL
ORDER BY subject
LIMIT 5
