-- Why: what people decide about a payment in review is kept with the step: on whose word, and for what reason. Their words stay in
-- history; the payment itself, which its owner reads, does not show them.
-- NOT VALID spares reading whole tables under their lock: what stands in them satisfies the rules already.
ALTER TABLE transitions
    ADD COLUMN operator      text,
    ADD COLUMN operator_says text,
    ADD CONSTRAINT transitions_operator_whole
        CHECK (num_nulls(operator, operator_says) IN (0, 2) AND (operator IS NULL OR actor = 'operator')) NOT VALID;

-- A withdrawal that was paid out after its hold was released: the user has had the money twice, and `recover` takes it back.
-- The ledger's rows satisfy the narrower rule that stood before.
ALTER TABLE ledger_entries
    DROP CONSTRAINT ledger_entries_effect_known,
    ADD CONSTRAINT ledger_entries_effect_known
        CHECK (effect IN ('hold', 'post', 'release', 'credit', 'reverse', 'recover', 'suspend')) NOT VALID;
