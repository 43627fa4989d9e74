-- Why: the fleet's processes must not be able to rewrite history. The owner role runs these migrations;
-- everything that serves traffic connects as payfleet_app, which is granted table by table, never DDL.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'payfleet_app') THEN
        CREATE ROLE payfleet_app NOLOGIN;
    END IF;
END
$$;

GRANT USAGE ON SCHEMA public TO payfleet_app;
