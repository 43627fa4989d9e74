-- Why: what a person has the fleet do (a dead letter replayed, parked events sent again) must be found afterwards with who, when and why,
-- and the fleet's processes must not be able to rewrite it. A dead letter is replayed once, whoever asks again; and to judge one, a person
-- wants to know who could not handle it, how often that was tried, and the record as it was, to the byte.
CREATE TABLE audit (
    id      bigint      GENERATED ALWAYS AS IDENTITY CONSTRAINT audit_pkey PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor   text        NOT NULL CONSTRAINT audit_has_an_actor CHECK (actor ~ '\S'),
    act     text        NOT NULL CONSTRAINT audit_names_its_act CHECK (act ~ '\S'),
    -- What it was done to.
    subject text        NOT NULL CONSTRAINT audit_names_its_subject CHECK (subject ~ '\S'),
    reason  text        NOT NULL CONSTRAINT audit_has_a_reason CHECK (reason ~ '\S'),
    details json        NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_of_subject ON audit (subject, id);

-- Append-only for everything that serves traffic.
GRANT SELECT, INSERT ON audit TO payfleet_app;

-- One letter is replayed once. Begun and not done: it was sent, or was not; who replays it next sends it.
CREATE TABLE dead_letter_replays (
    letter      uuid        CONSTRAINT dead_letter_replays_pkey PRIMARY KEY
                            CONSTRAINT dead_letter_replays_letter_fkey REFERENCES dead_letters,
    -- Who began it, and why.
    audit       bigint      NOT NULL CONSTRAINT dead_letter_replays_audit_fkey REFERENCES audit,
    begun_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_at     timestamptz,
    -- Where the record stands now, on its old topic and partition.
    done_offset bigint,
    CONSTRAINT dead_letter_replays_done_is_somewhere CHECK ((done_at IS NULL) = (done_offset IS NULL))
);
GRANT SELECT, INSERT, UPDATE (done_at, done_offset) ON dead_letter_replays TO payfleet_app;

-- Nullable or with a default: letters from before, and programs of the version before.
ALTER TABLE dead_letters
    ADD COLUMN consumer text,
    ADD COLUMN attempts integer NOT NULL DEFAULT 1,
    -- The headers as they were, in order; `headers` is for people.
    ADD COLUMN header_names text[],
    ADD COLUMN header_values bytea[];
