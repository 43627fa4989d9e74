SELECT id, last_seq FROM transactions WHERE $1::uuid[] IS NULL OR id = ANY($1)
