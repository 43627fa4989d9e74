-- Every effect of a transaction: debits equal credits, in the transaction's currency, on the transaction's account, which is its user's.
SELECT format('%s of %s: debits %s, credits %s%s', effect, transaction_id, debits, credits,
              CASE WHEN strayed THEN ', on an account or in a currency that is not the transaction''s' ELSE '' END) AS "example!",
       count(*) OVER () AS "total!"
FROM (SELECT entry.transaction_id, entry.effect,
             coalesce(sum(entry.amount) FILTER (WHERE entry.side = 'debit'), 0) AS debits,
             coalesce(sum(entry.amount) FILTER (WHERE entry.side = 'credit'), 0) AS credits,
             bool_or(entry.currency IS DISTINCT FROM payment.currency
                     OR entry.account_id <> payment.account_id
                     OR (entry.account_id IS NOT NULL
                         AND (account.user_id, account.currency) IS DISTINCT FROM (payment.user_id, payment.currency))) AS strayed
      FROM ledger_entries entry
      LEFT JOIN transactions payment ON payment.id = entry.transaction_id
      LEFT JOIN accounts account ON account.id = entry.account_id
      GROUP BY entry.transaction_id, entry.effect) effects
WHERE debits <> credits OR strayed
ORDER BY transaction_id, effect
LIMIT 5
