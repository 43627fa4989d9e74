#!/usr/bin/env bash
# Regenerates .sqlx: what PostgreSQL says of every statement in the code, so that a build needs no server. Stands on no program of
# ours, because none can be built while .sqlx lacks a statement.
set -euo pipefail
cd "$(dirname "$0")/../.."
place=$PWD/.dev/sqlx
log=$place/postgres.log

bin=$(dirname "$({ ls -d /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb; command -v initdb; } 2>/dev/null | sort -V | tail -1)")
as=()
# PostgreSQL refuses to run as root: inside a namespace root is an ordinary user.
[ "$(id -u)" != 0 ] || as=(unshare -U --map-user=1000 --map-group=1000)

rm -rf "$place"
mkdir -p "$place/queries"
"${as[@]}" "$bin/initdb" -D "$place/data" -U postgres -E UTF8 --locale=C.UTF-8 --auth=trust --no-sync >"$log"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"${as[@]}" "$bin/postgres" -D "$place/data" -p "$port" -c fsync=off -c listen_addresses=127.0.0.1 -c unix_socket_directories= >>"$log" 2>&1 &
server=$!
trap 'kill -INT $server; wait $server || true; rm -rf "$place"' EXIT
export PGHOST=127.0.0.1 PGPORT=$port PGUSER=postgres PGDATABASE=postgres
until psql -qc 'SELECT' >/dev/null 2>&1; do
    kill -0 "$server" 2>/dev/null || { cat "$log" >&2; exit 1; }
done
for migration in migrations/*.sql; do
    psql -q -v ON_ERROR_STOP=1 -1 -f "$migration"
done

# The macros write what they learn when they are expanded, so our own crate must be compiled anew.
touch lib/lib.rs lib/tests/main.rs
SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$place/queries DATABASE_URL=postgres://postgres@127.0.0.1:$port/postgres \
    cargo check --all-targets --locked --quiet
mkdir -p .sqlx
rm -f .sqlx/query-*.json
mv "$place"/queries/*.json .sqlx/
echo ".sqlx describes $(find .sqlx -name 'query-*.json' | wc -l) statements"
