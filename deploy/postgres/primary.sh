#!/usr/bin/env bash
# Run once, when the primary's database is made (docker-entrypoint-initdb.d): a user for the standby, and from the
# next start on, no commit without it.
set -euo pipefail

psql -v ON_ERROR_STOP=1 -v password="$(cat "$REPLICATION_PASSWORD_FILE")" -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
CREATE ROLE replicator LOGIN REPLICATION PASSWORD :'password';
-- Not by the command line: what is set there holds already while the database is made, and nobody stands by yet.
ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (standby)';
ALTER SYSTEM SET synchronous_commit = 'on';
SQL
echo "host replication replicator all scram-sha-256" >>"$PGDATA/pg_hba.conf"
