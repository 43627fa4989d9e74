-- Also of payments without any entries: the account exists, and is the payment's user's, in the payment's currency.
SELECT format('payment %s of user %s in %s: account %s %s', payment.id, payment.user_id, payment.currency, payment.account_id,
              coalesce('is of user ' || account.user_id || ' in ' || account.currency, 'does not exist')) AS "example!",
       count(*) OVER () AS "total!"
FROM transactions payment
LEFT JOIN accounts account ON account.id = payment.account_id
WHERE (account.user_id, account.currency) IS DISTINCT FROM (payment.user_id, payment.currency)
ORDER BY payment.id
LIMIT 5
