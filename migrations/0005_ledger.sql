-- Why: every cent explained. Double entry: each effect is a set of entries that sums to zero, written once, never changed.
-- available, held and owed belong to a user's account; clearing and suspense to a (gateway, currency) and are folded, never a row to update.
CREATE TABLE ledger_entries (
    id             bigint      GENERATED ALWAYS AS IDENTITY CONSTRAINT ledger_entries_pkey PRIMARY KEY,
    transaction_id uuid        NOT NULL CONSTRAINT ledger_entries_transaction_fkey REFERENCES transactions,
    version        bigint      NOT NULL,
    effect         text        NOT NULL CONSTRAINT ledger_entries_effect_known
                               CHECK (effect IN ('hold', 'post', 'release', 'credit', 'reverse', 'suspend')),
    account        text        NOT NULL CONSTRAINT ledger_entries_account_known
                               CHECK (account IN ('available', 'held', 'owed', 'clearing', 'suspense')),
    account_id     bigint      CONSTRAINT ledger_entries_account_fkey REFERENCES accounts,
    gateway        text,
    currency       text        NOT NULL,
    side           text        NOT NULL CONSTRAINT ledger_entries_side_known CHECK (side IN ('debit', 'credit')),
    amount         bigint      NOT NULL CONSTRAINT ledger_entries_amount_positive CHECK (amount > 0),
    at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT ledger_entries_no_effect_twice UNIQUE (transaction_id, effect, account, side),
    CONSTRAINT ledger_entries_owner_fits CHECK
        (CASE WHEN account IN ('available', 'held', 'owed') THEN account_id IS NOT NULL AND gateway IS NULL
              ELSE account_id IS NULL AND gateway IS NOT NULL END)
);
-- A hold ends once: posted or released, never both, never twice.
CREATE UNIQUE INDEX ledger_entries_hold_ends_once ON ledger_entries (transaction_id)
    WHERE account = 'held' AND effect IN ('post', 'release');
CREATE INDEX ledger_entries_of_account ON ledger_entries (account_id, id) WHERE account_id IS NOT NULL;

GRANT SELECT, INSERT ON ledger_entries TO payfleet_app;
