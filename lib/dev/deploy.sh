#!/bin/sh
# The secrets of `make deploy`, as files that the compose file mounts. Containers run as users of their own, so each file may be read
# by anybody; the directory lets nobody but its owner in.
set -eu
place=$(dirname "$0")/../../.dev/deploy
umask 077
"$(dirname "$0")/secrets.sh" "$place"
cd "$place"
chmod 700 .
rm -f owner_url app_url
printf 'postgres://postgres:%s@postgres:5432/payfleet' "$(cat owner_password)" >owner_url
printf 'postgres://payfleet_app:%s@postgres:5432/payfleet' "$(cat app_password)" >app_url
chmod 444 -- *
