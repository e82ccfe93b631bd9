-- Dagster's own database, for runs, events and ticks: nothing of it needs the target. Once per server, as administrator:
--
--     psql -f deploy/sql/dagster.sql postgresql://administrator@host/postgres
--
-- Then give its role a password, \password ingest_dagster, and set INGEST_DAGSTER_URL.

\set ON_ERROR_STOP on

SELECT 'CREATE ROLE ingest_dagster LOGIN'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ingest_dagster') \gexec
SELECT 'CREATE DATABASE dagster'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'dagster') \gexec
REVOKE ALL ON DATABASE dagster FROM PUBLIC;
GRANT CONNECT, CREATE, TEMPORARY ON DATABASE dagster TO ingest_dagster;
\connect dagster
GRANT USAGE, CREATE ON SCHEMA public TO ingest_dagster;
