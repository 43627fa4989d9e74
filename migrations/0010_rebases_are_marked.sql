-- Why: a rebase puts every lane where it has not been before, and what was delivered up to then cannot be told from the cursors any more.
-- Whoever judges the books must know which checkpoint was its.
ALTER TABLE checkpoints ADD COLUMN rebased boolean NOT NULL DEFAULT false;
