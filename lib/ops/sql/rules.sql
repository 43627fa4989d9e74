-- The definitions of constraints and unique indexes that are valid now, by name.
SELECT conname AS "name!", pg_get_constraintdef(oid) AS "definition!"
FROM pg_constraint
WHERE conname = ANY($1) AND connamespace = 'public'::regnamespace AND convalidated
UNION ALL
SELECT class.relname, pg_get_indexdef(class.oid)
FROM pg_class class JOIN pg_index index ON index.indexrelid = class.oid
WHERE class.relname = ANY($1) AND class.relnamespace = 'public'::regnamespace
  AND index.indisunique AND index.indisvalid AND index.indisready
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = class.oid)
