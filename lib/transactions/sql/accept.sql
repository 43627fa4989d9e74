-- Takes up to 64 new payments in one statement and one commit. Phases, each complete before the next begins: accounts, then keys in key
-- order, then everything else. An account that another session has locked is passed over, and whoever wants its money is told to come
-- again: nobody ever waits for the lock of somebody else's account, and keys are the only thing that statements wait for each other for.
-- $1…: see `Columns` in accept_columns.rs.
WITH request AS (
    SELECT *
    FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                $10::bytea[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::timestamptz[],
                $18::timestamptz[], $19::timestamptz[], $20::text[], $21::text[], $22::bytea[], $23::smallint[], $24::text[],
                $25::bytea[], $26::bytea[], $27::bytea[], $28::text[], $29::bytea[], $30::bytea[], $31::smallint[], $32::bigint[],
                $33::bigint[])
         WITH ORDINALITY AS r (id, type, user_id, amount, currency, country, pinned_gateway, destination_kind, destination_last4,
                destination_sealed, destination_key_id, return_url, client_reference, metadata, traceparent, gateway, created_at,
                due_at, submit_until, endpoint, key, order_hash, reply_status, reply_type,
                reply_body, event, event_hash, command_topic, command, command_hash, lane, available_delta,
                held_delta, n)
),
posting AS (
    SELECT *
    FROM unnest($34::bigint[], $35::text[], $36::text[], $37::text[], $38::bigint[]) AS p (n, effect, account, side, amount)
),
-- What the request meets: its account, and the answer that its key already has.
met AS MATERIALIZED (
    SELECT r.n, r.id, -r.available_delta AS takes, a.id AS account_id, k.transaction_id AS answered_id, k.command_hash,
           k.reply_status, k.reply_type, k.reply_body
    FROM request r
    LEFT JOIN accounts a ON a.user_id = r.user_id AND a.currency = r.currency
    LEFT JOIN idempotency_keys k ON k.user_id = r.user_id AND k.endpoint = r.endpoint AND k.key = r.key
),
-- Only what takes money locks.
purse AS MATERIALIZED (
    SELECT a.id, a.available
    FROM accounts a
    WHERE a.id = ANY (ARRAY (SELECT m.account_id FROM met m WHERE m.takes > 0 AND m.answered_id IS NULL))
    ORDER BY a.id
    FOR NO KEY UPDATE SKIP LOCKED
),
-- Against the locked balance: what this request and those before it take of the same account. An account that was passed over has no
-- balance here: whether it suffices is NULL, neither yes nor no.
weighed AS MATERIALIZED (
    SELECT w.*, w.takes = 0 OR w.taken <= w.available AS fits
    FROM (SELECT m.n, m.id, m.account_id, m.takes, p.available,
                 sum(m.takes) OVER (PARTITION BY m.account_id ORDER BY m.n) AS taken
          FROM met m
          LEFT JOIN purse p ON p.id = m.account_id
          WHERE m.account_id IS NOT NULL AND m.answered_id IS NULL) w
),
-- The sort makes all locks of the phase before come first.
claimed AS (
    INSERT INTO idempotency_keys (user_id, endpoint, key, command_hash, transaction_id, reply_status, reply_type, reply_body)
    SELECT r.user_id, r.endpoint, r.key, r.order_hash, r.id, r.reply_status, r.reply_type, r.reply_body
    FROM weighed w
    JOIN request r ON r.n = w.n
    WHERE w.fits
    ORDER BY r.user_id, r.endpoint, r.key
    ON CONFLICT DO NOTHING
    RETURNING transaction_id
),
-- From here on only rows whose key was really inserted.
fresh AS MATERIALIZED (
    SELECT r.*, w.account_id
    FROM claimed c
    JOIN request r ON r.id = c.transaction_id
    JOIN weighed w ON w.n = r.n
),
payment AS (
    INSERT INTO transactions (id, type, user_id, account_id, amount, currency, country, pinned_gateway, destination_kind,
                              destination_last4, destination_sealed, destination_key_id, return_url, client_reference, metadata,
                              traceparent, status, gateway, version, last_seq, due_at, submit_until, created_at, updated_at)
    SELECT id, type, user_id, account_id, amount, currency, country, pinned_gateway, destination_kind,
           destination_last4, destination_sealed, destination_key_id, return_url, client_reference, metadata::json,
           traceparent, 'created', gateway, 1, 2, due_at, submit_until, created_at, created_at
    FROM fresh
),
told AS (
    INSERT INTO transitions (transaction_id, version, to_status, cause, actor, attempt, gateway, event_seq, event_hash, command_seq,
                             command_hash, command_topic)
    SELECT id, 1, 'created', 'accept', 'client', 0, gateway, 1, event_hash, 2, command_hash, command_topic
    FROM fresh
),
booked AS (
    INSERT INTO ledger_entries (transaction_id, version, effect, account, account_id, currency, side, amount)
    SELECT f.id, 1, p.effect, p.account, f.account_id, f.currency, p.side, p.amount
    FROM fresh f
    JOIN posting p ON p.n = f.n
    ORDER BY f.account_id, f.n
),
-- From the sum per account: an update that meets an account twice would apply only one of its rows.
balanced AS (
    UPDATE accounts a
    SET available = a.available + d.available,
        held      = a.held + d.held
    FROM (SELECT account_id, sum(available_delta)::bigint AS available, sum(held_delta)::bigint AS held
          FROM fresh
          WHERE available_delta <> 0 OR held_delta <> 0
          GROUP BY account_id) d
    WHERE a.id = d.account_id
),
-- One insert in the order of (aggregate, seq): the ids, drawn above the sort, rise in it.
sent AS (
    INSERT INTO outbox (slot, lane, aggregate, seq, topic, type, traceparent, payload)
    SELECT (SELECT slot FROM outbox_ring WHERE singleton), o.lane, o.aggregate, o.seq, o.topic, o.type, o.traceparent, o.payload
    FROM (SELECT lane, id AS aggregate, 1 AS seq, 'payments.events' AS topic,
                 'payfleet.transaction.status_changed.v1' AS type, traceparent, event AS payload
          FROM fresh
          UNION ALL
          SELECT lane, id, 2, command_topic, 'payfleet.gateway.command.v1', traceparent, command
          FROM fresh) o
    ORDER BY o.aggregate, o.seq
),
-- A request whose key another statement claimed in the meantime: the sums above counted it, so nothing here is short for certain.
crossed AS (
    SELECT count(*) > (SELECT count(*) FROM fresh) AS met_one FROM weighed WHERE fits
),
-- What those that fit have left of each account.
rest AS (
    SELECT account_id, min(available) - coalesce(max(taken) FILTER (WHERE fits AND takes > 0), 0) AS available
    FROM weighed
    GROUP BY account_id
)
SELECT CASE
           WHEN f.n IS NOT NULL OR m.answered_id = m.id THEN 'accepted'
           WHEN m.answered_id IS NOT NULL THEN 'answered'
           WHEN m.account_id IS NULL THEN 'not_enabled'
           WHEN w.fits IS NULL THEN 'busy'
           WHEN NOT w.fits AND NOT (SELECT met_one FROM crossed)
                AND w.takes > (SELECT rest.available FROM rest WHERE rest.account_id = w.account_id) THEN 'short'
           ELSE 'again'
       END AS "verdict!",
       m.answered_id AS "answered_id?", m.command_hash AS "order_hash?", m.reply_status AS "reply_status?", m.reply_type AS "reply_type?",
       m.reply_body AS "reply_body?",
       clock_timestamp() AS "now!"
FROM met m
LEFT JOIN weighed w ON w.n = m.n
LEFT JOIN fresh f ON f.n = m.n
ORDER BY m.n
