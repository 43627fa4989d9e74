SELECT t.id, t.type AS kind, t.user_id, t.account_id, a.available, a.owed, t.amount, t.currency, t.country, t.pinned_gateway, t.destination_kind,
       t.return_url, t.status, t.substatus, t.gateway, t.attempt, t.round, t.next_action_url, t.next_action_expires_at, t.version, t.asks,
       t.due_at IS NOT NULL AS "is_due!", t.submit_until, t.created_at, t.updated_at, clock_timestamp() AS "now!",
       coalesce(said.contradicted, false) AS "contradicted!",
       coalesce(said.came_back_when_asked, false) AS "came_back_when_asked!",
       t.reason_code, t.reason_message, t.reason_gateway_code
FROM transactions t
JOIN accounts a ON a.id = t.account_id
-- Of the steps since the payment stands where it does, the one that led there included (domain/change.rs, Change::applied_to).
CROSS JOIN LATERAL
     (SELECT bool_or(x.cause LIKE '%:contradicts') AS contradicted,
             bool_or(x.version = t.version AND (x.cause LIKE 'asked:%:declined:contradicts' OR x.cause LIKE 'asked:%:reversed:contradicts')) AS came_back_when_asked
      FROM transitions x
      WHERE x.transaction_id = t.id AND t.status IN ('succeeded', 'failed', 'expired')
        AND x.version >= (SELECT max(moved.version)
                          FROM transitions moved
                          WHERE moved.transaction_id = t.id AND moved.from_status IS DISTINCT FROM moved.to_status)) said
WHERE t.id = ANY ($1)
