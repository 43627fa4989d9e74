SELECT id, transaction_id, number, gateway, created_at, not_found FROM attempts WHERE $1::uuid[] IS NULL OR id = ANY($1)
