SELECT format('account %s (%s): available %s, held %s, owed %s', id, currency, available, held, owed) AS "example!",
       count(*) OVER () AS "total!"
FROM accounts
WHERE available < 0 OR held < 0 OR owed < 0
ORDER BY id
LIMIT 5
