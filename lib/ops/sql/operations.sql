SELECT attempt_id, kind, key, first_at FROM operations WHERE $1::uuid[] IS NULL OR attempt_id = ANY($1)
