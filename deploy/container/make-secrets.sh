#!/bin/sh
# Make the secrets of the example in compose.yml, in the folder `secrets` beside it; those that are there stay.
# Each is a file that containers read under another account, in a folder that only its owner may enter.
set -eu
umask 022
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 700 "$folder"

make_secret() {
    [ -s "$folder/$1" ] || od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$folder/$1"
}

make_secret root_password
make_secret watch_password
make_secret grafana_password
password=$(cat "$folder/watch_password")
printf 'mysql://queuemedic:%s@database/mails' "$password" >"$folder/mails_url"
cat >"$folder/accounts.sql" <<END
-- Run once, when the database is made: the account that watches, which can only read.
CREATE USER queuemedic IDENTIFIED BY '$password' WITH MAX_USER_CONNECTIONS 3;
GRANT SELECT ON mails.jobs TO queuemedic;
END
