-- Users' accounts: a credit raises available and held, a debit raises owed (domain/posting.rs, Posting::delta).
SELECT format('account %s (%s): stored available %s, held %s, owed %s; entries say %s, %s, %s', account.id, account.currency,
              account.available, account.held, account.owed, fold.available, fold.held, fold.owed) AS "example!",
       count(*) OVER () AS "total!"
FROM accounts account
CROSS JOIN LATERAL
     (SELECT coalesce(sum(delta) FILTER (WHERE account = 'available'), 0) AS available,
             coalesce(sum(delta) FILTER (WHERE account = 'held'), 0) AS held,
             coalesce(sum(delta) FILTER (WHERE account = 'owed'), 0) AS owed
      FROM (SELECT entry.account, CASE WHEN (entry.side = 'credit') = (entry.account <> 'owed') THEN entry.amount
                                       ELSE -entry.amount END AS delta
            FROM ledger_entries entry WHERE entry.account_id = account.id) deltas) fold
WHERE (account.available, account.held, account.owed) IS DISTINCT FROM (fold.available, fold.held, fold.owed)
ORDER BY account.id
LIMIT 5
