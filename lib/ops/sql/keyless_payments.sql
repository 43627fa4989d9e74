SELECT format('payment %s was made under %s keys', id, keys) AS "example!", count(*) OVER () AS "total!"
FROM (SELECT payment.id, count(key.transaction_id) AS keys
      FROM transactions payment LEFT JOIN idempotency_keys key ON key.transaction_id = payment.id
      GROUP BY payment.id) payments
WHERE keys <> 1
ORDER BY id
LIMIT 5
