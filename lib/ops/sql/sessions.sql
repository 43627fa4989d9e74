-- Sessions of the application in this database, other than the checker's; $1: how they are called. `idle_ms`: for how long each has stood
-- in a transaction without doing anything.
SELECT pid AS "pid!", coalesce(application_name, '') AS "name!",
       CASE WHEN state LIKE 'idle in transaction%'
            THEN (extract(epoch FROM clock_timestamp() - state_change) * 1000)::bigint END AS idle_ms
FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND backend_type = 'client backend' AND application_name IS DISTINCT FROM $1
