SELECT id, type AS kind, user_id, status, substatus, reason_code, reason_message, reason_gateway_code, amount, currency, gateway, attempt,
       destination_kind, destination_last4, next_action_url, next_action_expires_at, due_at, client_reference, metadata::text AS metadata,
       version, asks, created_at, updated_at
FROM transactions
WHERE id = ANY ($1)
