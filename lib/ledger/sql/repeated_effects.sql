-- An effect is booked by one step, and touches each side of an account once. A difference that was put into suspense may be cleared by
-- another step, the other way round: each direction is an effect of its own here.
SELECT format('%s of %s: %s entries on %s sides, by %s steps', effect, transaction_id, entries, sides, steps) AS "example!",
       count(*) OVER () AS "total!"
FROM (SELECT transaction_id, effect, count(*) AS entries, count(DISTINCT (account, side)) AS sides,
             count(DISTINCT version) AS steps
      FROM ledger_entries
      GROUP BY transaction_id, effect, CASE WHEN effect = 'suspend' THEN (account = 'clearing') = (side = 'debit') END) effects
WHERE entries <> sides OR steps <> 1
ORDER BY transaction_id, effect
LIMIT 5
