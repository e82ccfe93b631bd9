-- The loader owns nothing and changes no table: for databases whose schema only an administrator changes. Run after
-- roles.sql and a first load (or `ingest plan`, which shows the tables that the load would create):
--
--     psql -v profiles=crm -f deploy/sql/frozen.sql postgresql://administrator@host/database
--
-- Loads go on as before. One that needs a new column fails, and says so; nothing is merged. Run `roles.sql` again to let
-- the loader create tables; it cannot change these, which now belong to ingest_owner.
--
-- Tables and sequences change hands, and nothing that runs: a function, a rule, a view or a default that the loader made
-- would then act with the rights of ingest_owner, or of the administrator who touches the table. Such things are named,
-- and nothing is changed.

\set ON_ERROR_STOP on
\if :{?profiles}
\else
    \set profiles crm
\endif

BEGIN;
SELECT set_config('ingest.profiles', :'profiles', true) AS profiles \gset
DO $$
DECLARE
    roles CONSTANT oid[] := ARRAY['ingest_loader'::regrole, 'ingest_owner'::regrole];
    schemas CONSTANT oid[] := ARRAY['ingest'::regnamespace, quote_ident(current_setting('ingest.profiles'))::regnamespace];
    views CONSTANT oid[] := ARRAY[to_regclass('ingest.events'), to_regclass('ingest.metrics')]; -- the ledger's own
    found text[];
    relation record;
BEGIN
    WITH owned AS (
        SELECT d.classid, d.objid, c.relkind, c.relnamespace
        FROM pg_shdepend d
        LEFT JOIN pg_database b ON b.oid = d.dbid
        LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
        WHERE d.deptype = 'o' AND d.refclassid = 'pg_authid'::regclass AND d.refobjid = ANY (roles)
          AND (d.dbid = 0 OR b.datname = current_database())
          AND d.classid <> 'pg_default_acl'::regclass AND c.relpersistence IS DISTINCT FROM 't'
    ),
    -- What a table evaluates when somebody touches it.
    expressions (classid, objid, relation, tree) AS (
        SELECT 'pg_attrdef'::regclass, oid, adrelid, adbin::text FROM pg_attrdef
        UNION ALL SELECT 'pg_constraint'::regclass, oid, conrelid, conbin::text FROM pg_constraint
        UNION ALL SELECT 'pg_trigger'::regclass, oid, tgrelid, tgqual::text FROM pg_trigger
        UNION ALL SELECT 'pg_policy'::regclass, oid, polrelid, concat(polqual, polwithcheck) FROM pg_policy
        UNION ALL SELECT 'pg_rewrite'::regclass, oid, ev_class, ev_action::text FROM pg_rewrite
    ),
    refused (what) AS (
        SELECT pg_describe_object(classid, objid, 0) FROM owned
        WHERE NOT (relnamespace = ANY (schemas) AND relkind IN ('r', 'p', 'S')) IS TRUE
          AND NOT (relkind = 'v' AND objid = ANY (views)) IS TRUE
          AND NOT (classid = 'pg_namespace'::regclass AND objid = ANY (schemas))
        UNION ALL
        SELECT pg_describe_object('pg_rewrite'::regclass, r.oid, 0)
        FROM pg_rewrite r JOIN owned ON owned.objid = r.ev_class
        WHERE r.rulename <> '_RETURN'
        UNION ALL
        SELECT format('%s, which calls %s', pg_describe_object(e.classid, e.objid, 0), p.oid::regprocedure)
        FROM expressions e
        JOIN owned ON owned.objid = e.relation
        CROSS JOIN LATERAL regexp_matches(e.tree, ':(?:op)?funcid (\d+)', 'g') named
        JOIN pg_proc p ON p.oid = named[1]::oid
        WHERE p.provolatile = 'v'
          AND NOT (p.pronamespace = 'pg_catalog'::regnamespace
                   AND p.proname IN ('nextval', 'gen_random_uuid', 'uuidv4', 'uuidv7', 'clock_timestamp', 'random'))
        UNION ALL
        SELECT format('%s, which reads %s', pg_describe_object('pg_class'::regclass, r.ev_class, 0),
                      pg_describe_object(d.refclassid, d.refobjid, 0))
        FROM pg_rewrite r
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        JOIN pg_class c ON c.oid = d.refobjid
        WHERE r.ev_class = ANY (views) AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
          AND NOT (c.relnamespace = 'ingest'::regnamespace AND c.relkind = 'r')
        UNION ALL
        SELECT format('membership of %s in %s', member.rolname, role::regrole)
        FROM pg_roles member CROSS JOIN unnest(roles) role
        WHERE member.rolname IN ('ingest_loader', 'ingest_viewer', 'ingest_dagster') AND member.oid <> role
          AND pg_has_role(member.oid, role, 'MEMBER')
    )
    SELECT array_agg(DISTINCT what ORDER BY what) INTO found FROM refused;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'Not frozen: ingest_loader made, or ingest_owner has, more than tables and sequences: %',
            array_to_string(found, '; ')
            USING HINT = 'Nothing was changed. Read each, then drop it, or give it to an administrator; then run this again.';
    END IF;

    FOR relation IN
        SELECT c.oid::regclass AS name, c.relkind
        FROM pg_class c
        WHERE c.relowner = 'ingest_loader'::regrole AND c.relnamespace = ANY (schemas) AND c.relkind IN ('r', 'p', 'v', 'S')
          AND NOT EXISTS ( -- an identity's sequence goes with its table
            SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype IN ('a', 'i')
              AND c.relkind = 'S'
          )
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO ingest_owner', relation.name);
    END LOOP;
END
$$;
REVOKE CREATE ON SCHEMA ingest, :"profiles" FROM ingest_loader;
REVOKE ALL ON ALL TABLES IN SCHEMA ingest, :"profiles" FROM PUBLIC, ingest_loader, ingest_viewer CASCADE;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA ingest, :"profiles" FROM PUBLIC, ingest_loader, ingest_viewer CASCADE;
GRANT SELECT ON ALL TABLES IN SCHEMA ingest, :"profiles" TO ingest_loader, ingest_viewer;
SELECT format('REVOKE ALL ON ingest.%I FROM ingest_viewer', relname) -- whom `ingest forget` keeps out is for loads only
FROM pg_class WHERE relnamespace = 'ingest'::regnamespace AND relname IN ('suppressed', 'suppression_secret') \gexec
GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA :"profiles" TO ingest_loader;
-- for imports that delete profiles (mode: delete, snapshot: true):
-- GRANT DELETE ON ALL TABLES IN SCHEMA :"profiles" TO ingest_loader;
GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ingest TO ingest_loader;
REVOKE UPDATE, DELETE ON ingest.audit FROM ingest_loader; -- what was done stays written
GRANT USAGE ON ALL SEQUENCES IN SCHEMA ingest, :"profiles" TO ingest_loader;
COMMIT;
