SELECT format('%s: debits %s, credits %s', currency, debits, credits) AS "example!", count(*) OVER () AS "total!"
FROM (SELECT currency,
             coalesce(sum(amount) FILTER (WHERE side = 'debit'), 0) AS debits,
             coalesce(sum(amount) FILTER (WHERE side = 'credit'), 0) AS credits
      FROM ledger_entries GROUP BY currency) currencies
WHERE debits <> credits
ORDER BY currency
LIMIT 5
