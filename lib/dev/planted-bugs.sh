#!/usr/bin/env bash
# Plants the bugs that the outbox is built against, one after the other, and sees the long test of the outbox find each of them: for
# the right reason, not because something did not happen in time. First of all it must pass without any.
#
#   planted-bugs.sh               all of them
#   planted-bugs.sh no-epoch-check …
set -euo pipefail
cd "$(dirname "$0")/../.."
export SQLX_OFFLINE=true PAYFLEET_TEST_EVENTS=${PAYFLEET_TEST_EVENTS:-20000}
export -n PAYFLEET_PLANTED_BUG PAYFLEET_TEST_KEEP_LOGS 2>/dev/null || true
features=failpoints,planted-bugs
logs=.dev/planted-bugs
# What the test says when it has found one.
declare -A findings=(
    ["what was committed is not on the topics"]="the topics do not agree with what was committed: .* missing: [1-9]"
    ["events overtook each other"]="the topics do not agree with what was committed: .* disordered: [1-9]"
    ["something is on the topics that was not committed"]="the topics do not agree with what was committed: .* unknown: [1-9]"
    ["a checkpoint of an old epoch after one of a newer"]="a checkpoint of an old epoch was written after one of a newer"
)

known=$(grep -o '= "[a-z-]*",' lib/service/planted.rs | cut -d '"' -f 2)
bugs=("$@")
[ ${#bugs[@]} != 0 ] || mapfile -t bugs <<<"$known"
for bug in "${bugs[@]}"; do
    grep -qx -- "$bug" <<<"$known" || { printf 'there is no bug %s; there are:\n%s\n' "$bug" "$known" >&2; exit 64; }
done

mkdir -p "$logs"
cargo build --locked --features $features --bins --tests

# The test with what is planted, its output into a log.
run() {
    PAYFLEET_PLANTED_BUG=$1 cargo nextest run --locked --features $features --no-capture 'fleet::million::' >"$2" 2>&1
}

# How the log says that the bug was found.
found_by() {
    local finding
    for finding in "${!findings[@]}"; do
        if grep -q -- "${findings[$finding]}" "$1"; then
            printf '%s\n' "$finding"
        fi
    done | sort | paste -sd ';' | sed 's/;/; /g'
}

failed=0
row() { printf '%-36s %-9s %7s  %s\n' "$@" | tee -a "$logs/table"; }
: >"$logs/table"
row planted found seconds "what the test saw"
for bug in "" "${bugs[@]}"; do
    log=$logs/${bug:-none}.log
    printf '%s: running, log in %s\n' "${bug:-none}" "$log" >&2
    begun=$SECONDS
    if run "$bug" "$log"; then passed=yes; else passed=no; fi
    seen=$(found_by "$log")
    case $bug/$passed/$seen in
        /yes/*) verdict=clean ;;
        /no/*) verdict=broken ;;
        */no/?*) verdict=found ;;
        *) verdict=missed ;;
    esac
    row "${bug:-(none)}" $verdict $((SECONDS - begun)) "$seen"
    case $verdict in broken | missed) failed=1 ;; esac
    # Without it nothing is proved by the others.
    [ $verdict != broken ] || break
done
printf '\n' >&2
cat "$logs/table" >&2
exit $failed
