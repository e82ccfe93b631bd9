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

-- What every account may do in a fresh database, ours may not: connect to it, make temporary tables and large objects in
-- it, hold the locks that loads take turns by. Accounts that own or were granted anything here keep all that.
SELECT format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO %I', current_database(), rolname)
FROM pg_roles
WHERE NOT rolsuper AND rolname !~ '^(pg_|ingest_(owner|loader|viewer|dagster)$)'
  AND has_database_privilege('public', current_database(), 'CONNECT')
  AND EXISTS (
    SELECT FROM pg_shdepend JOIN pg_database ON pg_database.oid = dbid
    WHERE datname = current_database() AND refclassid = 'pg_authid'::regclass AND refobjid = pg_roles.oid
  ) \gexec
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()) \gexec
DO $$
DECLARE
    routine regprocedure;
    role name;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RAISE WARNING 'Every account that may connect can still make large objects and hold advisory locks.'
            USING HINT = 'Only a superuser can take that away: let one run this script, too.';
        RETURN;
    END IF;
    FOR routine IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND has_function_privilege('public', oid, 'EXECUTE')
          AND (proname ~ '^(lo_|pg_(try_)?advisory_)' OR proname IN ('loread', 'lowrite'))
    LOOP
        FOR role IN
            SELECT rolname FROM pg_roles
            WHERE NOT rolsuper AND rolname !~ '^(pg_|ingest_(owner|viewer|dagster)$)'
              AND (routine::text ~ 'advisory' OR rolname <> 'ingest_loader')
              AND (rolname = 'ingest_loader' OR has_database_privilege(rolname, current_database(), 'CONNECT'))
        LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', routine, role);
        END LOOP;
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', routine);
    END LOOP;
END
$$;

-- A load stages its rows in a temporary table.
SELECT format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO ingest_loader', current_database()) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO ingest_viewer', current_database()) \gexec
GRANT USAGE, CREATE ON SCHEMA ingest, :"profiles" TO ingest_loader;
GRANT USAGE ON SCHEMA ingest, :"profiles" TO ingest_viewer;

-- Tables that are there, and those that the loader will create: the viewer reads them, whatever was granted before.
REVOKE ALL ON ALL TABLES IN SCHEMA ingest, :"profiles" FROM PUBLIC, ingest_viewer CASCADE;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA ingest, :"profiles" FROM PUBLIC, ingest_viewer CASCADE;
GRANT SELECT ON ALL TABLES IN SCHEMA ingest, :"profiles" TO ingest_viewer;
-- Whom `ingest forget` keeps out is for loads only.
SELECT format('REVOKE ALL ON ingest.%I FROM PUBLIC, ingest_viewer', relname)
FROM pg_class WHERE relnamespace = 'ingest'::regnamespace AND relname IN ('suppressed', 'suppression_secret') \gexec
GRANT ingest_loader TO CURRENT_USER;
ALTER DEFAULT PRIVILEGES FOR ROLE ingest_loader IN SCHEMA ingest, :"profiles" GRANT SELECT ON TABLES TO ingest_viewer;
ALTER DEFAULT PRIVILEGES FOR ROLE ingest_owner IN SCHEMA ingest, :"profiles" GRANT SELECT ON TABLES TO ingest_viewer;
ALTER DEFAULT PRIVILEGES FOR ROLE ingest_loader, ingest_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
COMMIT;
