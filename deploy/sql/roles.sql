-- Least privilege for the target database. Run once, and again after an upgrade, as its administrator:
--
--     psql -v profiles=crm -f deploy/sql/roles.sql postgresql://administrator@host/database
--
-- `profiles` is the schema of the profile tables (databases.yaml, `table: crm.customers`); the default is crm.
--
--   ingest_loader   what INGEST_DATABASE_URL logs in as: creates and changes tables in the two schemas, and nothing else
--   ingest_viewer   reads both schemas; every transaction of its sessions is read only
--   ingest_owner    owns the schemas; nobody logs in as it
--
-- Neither role has a password yet: \password ingest_loader, \password ingest_viewer. `frozen.sql` takes the loader's
-- right to create and change tables away again, once they exist.

\set ON_ERROR_STOP on
\if :{?profiles}
\else
    \set profiles crm
\endif

BEGIN;
SELECT format('CREATE ROLE %I %s', name, rights)
FROM (VALUES ('ingest_owner', 'NOLOGIN'), ('ingest_loader', 'LOGIN'), ('ingest_viewer', 'LOGIN')) wanted (name, rights)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE ingest_viewer SET default_transaction_read_only = on;

-- The administrator may hand schemas to the owner only as a member of it.
GRANT ingest_owner TO CURRENT_USER;
CREATE SCHEMA IF NOT EXISTS ingest AUTHORIZATION ingest_owner;
CREATE SCHEMA IF NOT EXISTS :"profiles" AUTHORIZATION ingest_owner;
REVOKE ALL ON SCHEMA ingest, :"profiles" FROM PUBLIC;

-- A load stages its rows in a temporary table.
SELECT format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO ingest_loader', current_database()) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO ingest_viewer', current_database()) \gexec
GRANT USAGE, CREATE ON SCHEMA ingest, :"profiles" TO ingest_loader;
GRANT USAGE ON SCHEMA ingest, :"profiles" TO ingest_viewer;

-- Tables that are there, and those that the loader will create.
GRANT SELECT ON ALL TABLES IN SCHEMA ingest, :"profiles" TO ingest_viewer;
GRANT ingest_loader TO CURRENT_USER;
ALTER DEFAULT PRIVILEGES FOR ROLE ingest_loader IN SCHEMA ingest, :"profiles" GRANT SELECT ON TABLES TO ingest_viewer;
ALTER DEFAULT PRIVILEGES FOR ROLE ingest_owner IN SCHEMA ingest, :"profiles" GRANT SELECT ON TABLES TO ingest_viewer;
COMMIT;
