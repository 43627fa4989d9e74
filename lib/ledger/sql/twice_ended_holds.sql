SELECT format('%s: its hold ended %s times (%s)', transaction_id, ends, how) AS "example!", count(*) OVER () AS "total!"
FROM (SELECT transaction_id, count(*) AS ends, string_agg(effect, ', ' ORDER BY id) AS how
      FROM ledger_entries WHERE account = 'held' AND effect IN ('post', 'release')
      GROUP BY transaction_id) holds
WHERE ends > 1
ORDER BY transaction_id
LIMIT 5
