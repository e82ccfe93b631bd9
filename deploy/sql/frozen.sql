-- The loader owns nothing and changes no table: for databases whose schema only an administrator changes. Run after
-- roles.sql and a first load (or `ingest plan`, which shows the tables that the load would create):
--
--     psql -v profiles=crm -f deploy/sql/frozen.sql postgresql://administrator@host/database
--
-- Loads go on as before. One that needs a new column fails, and says so; nothing is merged. Run `roles.sql` again to let
-- the loader create tables; it cannot change these, which now belong to ingest_owner.

\set ON_ERROR_STOP on
\if :{?profiles}
\else
    \set profiles crm
\endif

BEGIN;
REASSIGN OWNED BY ingest_loader TO ingest_owner;
REVOKE CREATE ON SCHEMA ingest, :"profiles" FROM ingest_loader;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA :"profiles" TO ingest_loader;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ingest TO ingest_loader;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA ingest, :"profiles" TO ingest_loader;
COMMIT;
