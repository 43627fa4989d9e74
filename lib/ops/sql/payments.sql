SELECT count(*) AS "payments!" FROM transactions
