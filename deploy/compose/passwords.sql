-- After roles.sql and dagster.sql, when Compose's Postgres starts for the first time.
\set ON_ERROR_STOP on
\set loader `cat /run/secrets/ingest_loader_password`
\set viewer `cat /run/secrets/ingest_viewer_password`
\set dagster `cat /run/secrets/ingest_dagster_password`
ALTER ROLE ingest_loader PASSWORD :'loader';
ALTER ROLE ingest_viewer PASSWORD :'viewer';
ALTER ROLE ingest_dagster PASSWORD :'dagster';
