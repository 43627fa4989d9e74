-- Tables that can be looked through, partitions by themselves, each with its columns of bytes. Names are quoted, fit to be put into SQL.
SELECT quote_ident(class.relname) AS "name!", has_table_privilege(class.oid, 'SELECT') AS "readable!",
       coalesce(array_agg(quote_ident(attribute.attname)) FILTER (WHERE attribute.atttypid = 'bytea'::regtype), '{}') AS "bytes!"
FROM pg_class class
JOIN pg_attribute attribute ON attribute.attrelid = class.oid AND attribute.attnum > 0 AND NOT attribute.attisdropped
WHERE class.relnamespace = 'public'::regnamespace AND class.relkind = 'r'
GROUP BY class.oid, class.relname
ORDER BY class.relname
