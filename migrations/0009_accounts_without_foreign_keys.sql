-- Why: a foreign key's check takes KEY SHARE on the account of every payment and entry. Beside a payment that takes money of the same
-- account this leaves two lockers in the row, and a statement that then updates it from an older snapshot waits for the row's lock in
-- another order than the one it took its locks in: deposits and withdrawals of one account deadlocked now and then, and each payment of
-- a busy account wrote its row's lock to the log once more. Nothing is lost with them: an account's id is always read from `accounts`, or
-- from the payment, in the statement that writes it; the application cannot delete accounts; and `payfleet verify` joins entries with
-- accounts (I1).
ALTER TABLE transactions DROP CONSTRAINT transactions_account_fkey;
ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_account_fkey;
