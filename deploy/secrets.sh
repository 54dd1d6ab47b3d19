#!/usr/bin/env bash
# Makes what the nodes of compose.yaml have in common, in ./secrets beside it. Safe to repeat: what is there stays.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# The directory is for you alone. The files are not, since in a container another user reads them.
umask 077
mkdir -p secrets

# secret NAME BYTES: so much chance, in base64.
secret() {
    [ -s "secrets/$1" ] || head -c "$2" /dev/urandom | base64 -w 0 >"secrets/$1"
}

secret master_key 32
secret admin_key 33
# Without the characters that mean something in a URL.
secret database_password 33
tr '+/' '-_' <secrets/database_password >secrets/.new && mv secrets/.new secrets/database_password
secret replication_password 33
cat >secrets/pushpull.toml <<END
store = "postgres://pushpull:$(cat secrets/database_password)@primary,standby/pushpull"
END
chmod 0644 secrets/*
echo "made in $PWD/secrets: keep master_key elsewhere too, since without it a backup is of no use"
