-- What the application's role ($2), and whoever asks, could do to tables ($1) that are only ever appended to; and their triggers, which also
-- hold the foreign keys.
WITH kept AS (
    SELECT class.oid, class.relname, class.relowner
    FROM unnest($1::text[]) AS wanted (of_table)
    JOIN pg_class class ON class.relname = wanted.of_table AND class.relnamespace = 'public'::regnamespace
),
judged AS (
    SELECT kept.*, role.oid AS role, role.rolname
    FROM kept CROSS JOIN pg_roles role
    WHERE role.rolname IN ($2, current_user)
)
SELECT format('%s may %s %s', rolname, privilege, relname) AS "says!",
       CASE privilege WHEN 'UPDATE' THEN has_any_column_privilege(role, oid, privilege)
                      ELSE has_table_privilege(role, oid, privilege) END AS "wrong!"
FROM judged CROSS JOIN unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) AS privilege
UNION ALL
SELECT format('%s may act as the owner of %s', rolname, relname), pg_has_role(role, relowner, 'MEMBER') FROM judged
UNION ALL
SELECT format('the trigger %s of %s is switched off', tgname, relname), tgenabled NOT IN ('O', 'A')
FROM pg_trigger JOIN kept ON kept.oid = tgrelid
