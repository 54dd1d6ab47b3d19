#!/usr/bin/env bash
# A standby that the primary waits for: copies it at the first start, then follows it. Arguments are the server's.
set -euo pipefail

PRIMARY_HOST=${PRIMARY_HOST:-primary}
PRIMARY_PORT=${PRIMARY_PORT:-5432}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    PGPASSWORD=$(cat "$REPLICATION_PASSWORD_FILE")
    export PGPASSWORD
    mkdir -p "$PGDATA"
    chmod 0700 "$PGDATA"
    until pg_isready -q -h "$PRIMARY_HOST" -p "$PRIMARY_PORT"; do sleep 1; done
    # Its name is what the primary's synchronous_standby_names says. A copy that was cut off is begun anew.
    find "$PGDATA" -mindepth 1 -delete
    pg_basebackup -D "$PGDATA" -X stream -R \
        -d "host=$PRIMARY_HOST port=$PRIMARY_PORT user=replicator application_name=standby"
    # Promoted, it has no standby of its own yet, and must not wait for one.
    sed -i '/^synchronous_standby_names/d' "$PGDATA/postgresql.auto.conf"
fi
exec postgres "$@"
