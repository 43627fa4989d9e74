-- Versions are 1 … n, each step begins where the one before ended, and the payment stands where its last step left it.
SELECT format('%s %s', coalesce(id, transaction_id), what) AS "example!", count(*) OVER () AS "total!"
FROM (SELECT payment.id, history.transaction_id,
             CASE WHEN history.transaction_id IS NULL THEN 'has no steps'
                  WHEN payment.id IS NULL THEN 'is no payment, yet has steps'
                  WHEN (history.first, history.steps) IS DISTINCT FROM (1, history.last)
                      THEN format('has %s steps with versions from %s to %s', history.steps, history.first, history.last)
                  WHEN history.broken > 0 THEN format('has %s steps that begin elsewhere than the one before ended', history.broken)
                  WHEN payment.version <> history.last
                      THEN format('stands at version %s, its last step is %s', payment.version, history.last)
                  WHEN (payment.status, payment.substatus) IS DISTINCT FROM (history.status, history.substatus)
                      THEN format('stands at %s %s, its last step led to %s %s', payment.status, payment.substatus,
                                  history.status, history.substatus)
             END AS what
      FROM transactions payment
      FULL JOIN (SELECT transaction_id, count(*) AS steps, min(version) AS first, max(version) AS last,
                        count(*) FILTER (WHERE before IS DISTINCT FROM from_status) AS broken,
                        (array_agg(to_status ORDER BY version DESC))[1] AS status,
                        (array_agg(to_substatus ORDER BY version DESC))[1] AS substatus
                 FROM (SELECT transaction_id, version, from_status, to_status, to_substatus,
                              lag(to_status) OVER (PARTITION BY transaction_id ORDER BY version) AS before
                       FROM transitions) chained
                 GROUP BY transaction_id) history ON history.transaction_id = payment.id) chains
WHERE what IS NOT NULL
ORDER BY 1
LIMIT 5
