-- Takes up to 64 steps in one statement and one commit. A step is taken only if its transaction still stands at the expected version,
-- no step had its cause before, and its account's owner owes, and has, what the postings assume. A payment or account that another session has
-- locked is passed over, and its step is told as busy: nobody's step ever waits for the lock of somebody else's account.
-- $1…: see `Columns` in apply.rs.
WITH change AS (
    SELECT *
    FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                $10::text[], $11::text[], $12::smallint[], $13::smallint[], $14::text[], $15::timestamptz[], $16::smallint[],
                $17::bigint[], $18::bytea[], $19::bytea[], $20::text[], $21::bytea[], $22::bytea[], $23::uuid[], $24::bigint[],
                $25::smallint[], $48::bigint[], $49::bigint[], $50::text[], $51::text[], $52::text[])
         WITH ORDINALITY AS c (transaction_id, expected_version, cause, actor, from_status, to_status, substatus, reason_code,
                reason_message, reason_gateway_code, gateway, attempt, round, action_url, action_expires_at, asks,
                due_ms, event, event_hash, command_topic, command, command_hash, callback_id, expected_owed,
                lane, available_from, available_to, operator, operator_says, suspended_at, n)
),
news AS (
    SELECT *
    FROM unnest($26::bigint[], $27::uuid[], $28::smallint[], $29::smallint[], $30::text[], $31::text[], $32::text[], $33::text[],
                $34::text[], $35::smallint[])
         AS a (n, id, number, round, gateway, state, reference, gateway_code, gateway_text, not_found)
),
operating AS (
    SELECT *
    FROM unnest($36::bigint[], $37::uuid[], $38::text[], $39::text[], $40::text[], $41::bigint[], $42::text[])
         AS o (n, attempt_id, kind, key, act, for_ms, outcome)
),
posting AS (
    SELECT *
    FROM unnest($43::bigint[], $44::text[], $45::text[], $46::text[], $47::bigint[]) AS p (n, effect, account, side, amount)
),
-- Locks in one order everywhere: transactions by id, then accounts by id.
standing AS MATERIALIZED (
    SELECT t.id, t.version, t.account_id
    FROM transactions t
    WHERE t.id = ANY ($1)
    ORDER BY t.id
    FOR NO KEY UPDATE SKIP LOCKED
),
booking AS MATERIALIZED (
    SELECT a.id, a.owed, a.available
    FROM accounts a
    WHERE a.id = ANY (ARRAY (SELECT s.account_id
                             FROM standing s
                             JOIN change c ON c.transaction_id = s.id AND c.expected_version = s.version
                             WHERE c.expected_owed IS NOT NULL))
    ORDER BY a.id
    FOR NO KEY UPDATE SKIP LOCKED
),
accepted AS MATERIALIZED (
    SELECT c.*, s.account_id, c.reason_code IS NULL AND c.to_status = c.from_status AS keeps_reason
    FROM change c
    JOIN standing s ON s.id = c.transaction_id AND s.version = c.expected_version
    LEFT JOIN booking b ON b.id = s.account_id
    WHERE NOT EXISTS (SELECT FROM transitions x WHERE x.transaction_id = c.transaction_id AND x.cause = c.cause)
      AND (c.expected_owed IS NULL OR b.owed = c.expected_owed)
      AND (c.available_from IS NULL OR b.available >= c.available_from)
      AND (c.available_to IS NULL OR b.available <= c.available_to)
      -- Two repayments of one debt do not share a statement: the second was made up from a debt that is no more. Nor do two that take of
      -- one balance; nor one that makes a debt with anything else that is booked: what is credited would repay it. Ordinary credits look
      -- around only where somebody in the statement makes a debt.
      AND ((coalesce(c.expected_owed, 0) = 0 AND c.available_from IS NULL
            AND NOT EXISTS (SELECT FROM change indebting WHERE indebting.available_to IS NOT NULL))
           OR NOT EXISTS (SELECT FROM change earlier
                          JOIN standing e ON e.id = earlier.transaction_id
                          WHERE e.account_id = s.account_id AND earlier.n < c.n
                            AND c.expected_owed IS NOT NULL AND earlier.expected_owed IS NOT NULL
                            AND (c.available_to IS NOT NULL OR earlier.available_to IS NOT NULL
                                 OR ((c.expected_owed > 0 OR c.available_from IS NOT NULL)
                                     AND (earlier.expected_owed > 0 OR earlier.available_from IS NOT NULL)))))
),
moved AS (
    UPDATE transactions t
    SET status                 = c.to_status,
        substatus              = c.substatus,
        -- A step that only asks or records says nothing about why the payment stands where it does.
        reason_code            = CASE WHEN c.keeps_reason THEN t.reason_code ELSE c.reason_code END,
        reason_message         = CASE WHEN c.keeps_reason THEN t.reason_message ELSE c.reason_message END,
        reason_gateway_code    = CASE WHEN c.keeps_reason THEN t.reason_gateway_code ELSE c.reason_gateway_code END,
        gateway                = c.gateway,
        attempt                = c.attempt,
        round                  = c.round,
        next_action_url        = c.action_url,
        next_action_expires_at = c.action_expires_at,
        asks                   = c.asks,
        version                = t.version + 1,
        last_seq               = t.last_seq + CASE WHEN c.command IS NULL THEN 1 ELSE 2 END,
        due_at                 = clock_timestamp() + c.due_ms * interval '1 millisecond',
        updated_at             = clock_timestamp()
    FROM accepted c
    WHERE t.id = c.transaction_id AND t.version = c.expected_version
    RETURNING t.id, t.version, t.currency, t.traceparent, t.last_seq - CASE WHEN c.command IS NULL THEN 0 ELSE 1 END AS event_seq
),
step AS MATERIALIZED (
    SELECT c.*, m.version, m.currency, m.traceparent, m.event_seq
    FROM accepted c
    JOIN moved m ON m.id = c.transaction_id
),
told AS (
    INSERT INTO transitions (transaction_id, version, from_status, to_status, to_substatus, cause, actor, reason_code, attempt, gateway,
                             event_seq, event_hash, command_seq, command_hash, command_topic, operator, operator_says)
    SELECT transaction_id, version, from_status, to_status, substatus, cause, actor, reason_code, attempt, gateway,
           event_seq, event_hash, CASE WHEN command IS NOT NULL THEN event_seq + 1 END, command_hash, command_topic, operator, operator_says
    FROM step
),
tried AS (
    INSERT INTO attempts AS a (id, transaction_id, number, round, gateway, state, reference, gateway_code, gateway_text, not_found, not_found_at)
    SELECT w.id, s.transaction_id, w.number, w.round, w.gateway, w.state, w.reference, w.gateway_code, w.gateway_text,
           coalesce(w.not_found, 0), CASE WHEN w.not_found IS NOT NULL THEN clock_timestamp() END
    FROM step s
    JOIN news w ON w.n = s.n
    ON CONFLICT (id) DO UPDATE
    SET state        = excluded.state,
        reference    = coalesce(excluded.reference, a.reference),
        gateway_code = coalesce(excluded.gateway_code, a.gateway_code),
        gateway_text = coalesce(excluded.gateway_text, a.gateway_text),
        not_found    = CASE WHEN excluded.not_found_at IS NOT NULL THEN excluded.not_found ELSE a.not_found END,
        not_found_at = coalesce(excluded.not_found_at, a.not_found_at),
        updated_at   = clock_timestamp()
),
allowed AS (
    INSERT INTO operations AS o (attempt_id, kind, key, calls, send_by)
    SELECT w.attempt_id, w.kind, w.key, 1, clock_timestamp() + w.for_ms * interval '1 millisecond'
    FROM step s
    JOIN operating w ON w.n = s.n
    WHERE w.act = 'may_be_sent'
    ON CONFLICT (attempt_id, kind) DO UPDATE
    SET calls = o.calls + 1, send_by = excluded.send_by, answered_at = NULL, outcome = NULL
),
answered AS (
    UPDATE operations o
    SET calls       = o.calls + CASE WHEN w.act = 'taken_over' THEN 1 ELSE 0 END,
        answered_at = CASE WHEN w.act = 'answered' THEN clock_timestamp() ELSE o.answered_at END,
        outcome     = CASE WHEN w.act = 'answered' THEN w.outcome ELSE o.outcome END
    FROM step s
    JOIN operating w ON w.n = s.n
    WHERE w.act <> 'may_be_sent' AND o.attempt_id = w.attempt_id AND o.kind = w.kind
),
booked AS (
    INSERT INTO ledger_entries (transaction_id, version, effect, account, account_id, gateway, currency, side, amount)
    SELECT s.transaction_id, s.version, p.effect, p.account,
           CASE WHEN p.account IN ('available', 'held', 'owed') THEN s.account_id END,
           CASE WHEN p.account NOT IN ('clearing', 'suspense') THEN NULL
                WHEN p.effect = 'suspend' THEN coalesce(s.suspended_at, s.gateway) ELSE s.gateway END,
           s.currency, p.side, p.amount
    FROM step s
    JOIN posting p ON p.n = s.n
    ORDER BY s.account_id, s.n
),
balanced AS (
    UPDATE accounts a
    SET available = a.available + d.available,
        held      = a.held + d.held,
        owed      = a.owed + d.owed
    FROM (SELECT s.account_id,
                 coalesce(sum(p.amount * CASE p.side WHEN 'credit' THEN 1 ELSE -1 END) FILTER (WHERE p.account = 'available'), 0)::bigint AS available,
                 coalesce(sum(p.amount * CASE p.side WHEN 'credit' THEN 1 ELSE -1 END) FILTER (WHERE p.account = 'held'), 0)::bigint AS held,
                 coalesce(sum(p.amount * CASE p.side WHEN 'debit' THEN 1 ELSE -1 END) FILTER (WHERE p.account = 'owed'), 0)::bigint AS owed
          FROM step s
          JOIN posting p ON p.n = s.n
          GROUP BY s.account_id) d
    WHERE a.id = d.account_id
),
heard AS (
    UPDATE callbacks k
    SET state = 'applied', state_reason = NULL, due_at = NULL, done_at = clock_timestamp()
    FROM step s
    -- A step outranks whoever has found meanwhile that nothing follows.
    WHERE k.id = s.callback_id AND k.state IN ('stored', 'unmatched', 'ignored')
),
sent AS (
    INSERT INTO outbox (slot, lane, aggregate, seq, topic, type, traceparent, payload)
    SELECT (SELECT slot FROM outbox_ring WHERE singleton), r.lane, r.aggregate, r.seq, r.topic, r.type, r.traceparent, r.payload
    FROM (SELECT lane, transaction_id AS aggregate, event_seq AS seq, 'payments.events' AS topic,
                 'payfleet.transaction.status_changed.v1' AS type, traceparent, event AS payload
          FROM step
          UNION ALL
          SELECT lane, transaction_id, event_seq + 1, command_topic, 'payfleet.gateway.command.v1', traceparent, command
          FROM step
          WHERE command IS NOT NULL) r
    ORDER BY r.aggregate, r.seq
)
SELECT CASE
           WHEN EXISTS (SELECT FROM step t WHERE t.n = c.n) THEN 'taken'
           -- A step taken before, whose answer was lost, counts as taken, also where what it follows from was looked at again since. EXISTS
           -- could be answered by reading all causes that there are.
           WHEN (SELECT true FROM transitions x WHERE x.transaction_id = c.transaction_id AND x.cause = c.cause) THEN 'taken'
           WHEN s.id IS NULL THEN 'busy'
           WHEN s.version = c.expected_version AND c.expected_owed IS NOT NULL AND b.id IS NULL THEN 'busy'
           ELSE 'missed'
       END AS "applied!"
FROM change c
LEFT JOIN standing s ON s.id = c.transaction_id
LEFT JOIN booking b ON b.id = s.account_id
ORDER BY c.n
