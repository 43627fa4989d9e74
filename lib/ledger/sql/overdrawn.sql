-- The balance after each entry, in the order in which the entries were written: none was ever below zero.
SELECT format('%s of account %s stood at %s after entry %s', account, account_id, balance, id) AS "example!",
       count(*) OVER () AS "total!"
FROM (SELECT account, account_id, id,
             sum(CASE WHEN (side = 'credit') = (account <> 'owed') THEN amount ELSE -amount END)
                 OVER (PARTITION BY account_id, account ORDER BY id) AS balance
      FROM ledger_entries WHERE account_id IS NOT NULL) history
WHERE balance < 0
ORDER BY id
LIMIT 5
