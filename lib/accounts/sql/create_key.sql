INSERT INTO api_keys (id, user_id, key_hash, shown_as, rate_exempt)
VALUES ($1, $2, $3, $4, $5)
RETURNING id
