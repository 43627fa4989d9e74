SELECT id, transaction_id, number, gateway FROM attempts WHERE $1::uuid[] IS NULL OR id = ANY($1)
