SELECT format('%s of user %s: the key %s made %s payments', endpoint, user_id, key, payments) AS "example!", count(*) OVER () AS "total!"
FROM (SELECT user_id, endpoint, key, count(*) AS payments FROM idempotency_keys GROUP BY user_id, endpoint, key) keys
WHERE payments > 1
ORDER BY user_id, endpoint, key
LIMIT 5
