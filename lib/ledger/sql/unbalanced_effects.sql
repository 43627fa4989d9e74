-- Every effect of a transaction: debits equal credits, in the transaction's currency, on the transaction's account.
SELECT format('%s of %s: debits %s, credits %s%s', effect, transaction_id, debits, credits,
              CASE WHEN strayed THEN ', on another account or in another currency than the transaction''s' ELSE '' END) AS "example!",
       count(*) OVER () AS "total!"
FROM (SELECT entry.transaction_id, entry.effect,
             coalesce(sum(entry.amount) FILTER (WHERE entry.side = 'debit'), 0) AS debits,
             coalesce(sum(entry.amount) FILTER (WHERE entry.side = 'credit'), 0) AS credits,
             bool_or(entry.currency IS DISTINCT FROM payment.currency
                     OR entry.account_id <> payment.account_id
                     OR entry.currency <> account.currency) AS strayed
      FROM ledger_entries entry
      LEFT JOIN transactions payment ON payment.id = entry.transaction_id
      LEFT JOIN accounts account ON account.id = entry.account_id
      GROUP BY entry.transaction_id, entry.effect) effects
WHERE debits <> credits OR strayed
ORDER BY transaction_id, effect
LIMIT 5
