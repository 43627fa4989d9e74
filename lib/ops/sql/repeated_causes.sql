SELECT format('%s took %s steps for the cause %s', transaction_id, steps, cause) AS "example!", count(*) OVER () AS "total!"
FROM (SELECT transaction_id, cause, count(*) AS steps FROM transitions GROUP BY transaction_id, cause) causes
WHERE steps > 1
ORDER BY transaction_id, cause
LIMIT 5
