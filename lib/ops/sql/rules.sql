-- The definitions of constraints and unique indexes that are valid now, by table ($1) and name ($2).
SELECT class.relname AS "table!", rule.conname AS "name!", pg_get_constraintdef(rule.oid) AS "definition!"
FROM unnest($1::text[], $2::text[]) AS wanted (of_table, name)
JOIN pg_class class ON class.relname = wanted.of_table AND class.relnamespace = 'public'::regnamespace
JOIN pg_constraint rule ON rule.conrelid = class.oid AND rule.conname = wanted.name AND rule.convalidated
UNION ALL
SELECT class.relname, named.relname, pg_get_indexdef(named.oid)
FROM unnest($1::text[], $2::text[]) AS wanted (of_table, name)
JOIN pg_class class ON class.relname = wanted.of_table AND class.relnamespace = 'public'::regnamespace
JOIN pg_index index ON index.indrelid = class.oid AND index.indisunique AND index.indisvalid AND index.indisready
JOIN pg_class named ON named.oid = index.indexrelid AND named.relname = wanted.name
WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = named.oid)
