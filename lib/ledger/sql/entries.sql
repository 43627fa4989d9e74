SELECT count(*) AS "entries!", count(DISTINCT account_id) AS "accounts!" FROM ledger_entries
