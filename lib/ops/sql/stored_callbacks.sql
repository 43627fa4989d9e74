SELECT id, gateway, event_id, attempt_id, received_at FROM callbacks
