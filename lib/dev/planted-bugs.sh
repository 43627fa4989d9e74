#!/usr/bin/env bash
# Plants the bugs that payfleet is built against, one after the other, and sees each found by its catcher (lib/service/planted.rs): a
# test that fails and says what is wrong. First of all the catchers must pass without any.
#
#   planted-bugs.sh                             all of them
#   planted-bugs.sh no-epoch-check …
#   planted-bugs.sh --by chaos                  those that two minutes of chaos must find
#   planted-bugs.sh --by chaos no-send-by …
set -euo pipefail
cd "$(dirname "$0")/../.."
export SQLX_OFFLINE=true PAYFLEET_TEST_EVENTS=${PAYFLEET_TEST_EVENTS:-20000}
export -n PAYFLEET_PLANTED_BUG PAYFLEET_TEST_KEEP_LOGS 2>/dev/null || true
features=failpoints,planted-bugs
logs=.dev/planted-bugs
payfleet=${CARGO_TARGET_DIR:-target}/debug/payfleet
# What the long test of the outbox says when it has found one.
declare -A findings=(
    ["what was committed is not on the topics"]="the topics do not agree with what was committed: .* missing: [1-9]"
    ["events overtook each other"]="the topics do not agree with what was committed: .* disordered: [1-9]"
    ["something is on the topics that was not committed"]="the topics do not agree with what was committed: .* unknown: [1-9]"
    ["a checkpoint of an old epoch after one of a newer"]="a checkpoint of an old epoch was written after one of a newer"
)

# By bug: its catcher; what that must say; what chaos must find wrong, if it must.
declare -A catchers words in_chaos
known=()
while IFS=$'\t' read -r bug catcher says violated; do
    known+=("$bug")
    catchers[$bug]=$catcher words[$bug]=$says in_chaos[$bug]=$violated
done < <(sed -nE 's/^ *[A-Za-z]+ = "([a-z-]+)" by "([a-z_0-9:]+)" saying "([^"]+)"( in_chaos "([^"]+)")?,$/\1\t\2\t\3\t\5/p' lib/service/planted.rs)
by_chaos=
case ${1:-}${2:+ $2} in
    "--by chaos"*) by_chaos=yes; shift 2 ;;
    --*) echo "planted-bugs.sh: $*: there is only --by chaos" >&2; exit 64 ;;
esac
bugs=("$@")
[ ${#bugs[@]} != 0 ] || for bug in "${known[@]}"; do
    [ -n "$by_chaos" ] && [ -z "${in_chaos[$bug]}" ] || bugs+=("$bug")
done
[ ${#bugs[@]} != 0 ] || { echo "planted-bugs.sh: no bug has an \`in_chaos\` in lib/service/planted.rs: name those to try" >&2; exit 64; }
for bug in "${bugs[@]}"; do
    [ -n "${catchers[$bug]:-}" ] || { printf 'there is no bug %s; there are:\n' "$bug" >&2; printf '%s\n' "${known[@]}" >&2; exit 64; }
    # Whoever tries one that chaos need not find wants to see what it finds.
    [ -z "$by_chaos" ] || { catchers[$bug]=chaos::a_fleet; words[$bug]=${in_chaos[$bug]:-.}; }
done

mkdir -p "$logs"
cargo build --locked --features $features --bins --tests

# A test by its whole name; names that end with `::`, or were given, stand for all that begin so.
chosen() {
    if [ -n "$by_chaos" ] || [[ $1 == *:: ]]; then printf 'test(/^%s/)' "$1"; else printf 'test(=%s)' "$1"; fi
}

# Fleets have servers of their own; the other tests get some.
has_servers() { [[ $1 == fleet::* || $1 == chaos::* ]]; }

# Tests with what is planted, their output into a log: bug, log, whether they have servers of their own, filter.
run() {
    local around=("$payfleet" dev servers --)
    [ "$3" = no ] || around=()
    PAYFLEET_PLANTED_BUG=$1 "${around[@]}" cargo nextest run --locked --features $features --no-capture -E "$4" >"$2" 2>&1
}

# How the log says that the bug was found: bug, log.
found_by() {
    local finding
    if [ -n "$by_chaos" ]; then
        # What is wrong about the payments; a run that was too weak proves nothing.
        grep -oE 'I[0-9]+ violated [0-9]+ times|not every payment was final|[0-9]+ clients were never told|[0-9]+ clients were given the payment of another order|[0-9]+ of [0-9]+ unreadable records were never buried|ended by itself' "$2" | sort -Vu | paste -sd ';' | sed 's/;/; /g'
        return
    fi
    if [[ ${catchers[${1:-none}]:-} != fleet::million::* ]]; then
        # What the first panic says: its first line, and what was compared.
        awk '/^thread .*panicked at / { if (n++) exit; next } n && ($0 ~ /^ *(left|right): / || !text) { gsub(/^ +/, ""); text = text ? text " " $0 : substr($0, 1, 100) }
             n && ++lines == 6 { exit } END { print substr(text, 1, 160) }' "$2"
        return
    fi
    for finding in "${!findings[@]}"; do
        if grep -q -- "${findings[$finding]}" "$2"; then
            printf '%s\n' "$finding"
        fi
    done | sort | paste -sd ';' | sed 's/;/; /g'
}

failed=0
row() { printf '%-36s %-9s %7s  %s\n' "$@" | tee -a "$logs/table"; }

# One run and its row: bug (none: ""), log, whether they have servers of their own, filter.
see() {
    local begun=$SECONDS passed seen verdict
    printf '%s: running, log in %s\n' "${1:-none}" "$2" >&2
    if run "$@"; then passed=yes; else passed=no; fi
    seen=$(found_by "$1" "$2")
    case $1/$passed/$seen in
        /yes/*) verdict=clean ;;
        /no/*) verdict=broken ;;
        */no/?*) if grep -qE -- "${words[$1]}" <<<"$seen"; then verdict=found; else verdict=otherwise; fi ;;
        *) verdict=missed ;;
    esac
    row "${1:-(none)}" $verdict $((SECONDS - begun)) "$([ $verdict = clean ] || printf '%s' "$seen")"
    case $verdict in broken | missed | otherwise) failed=1 ;; esac
    [ $verdict != broken ]
}

: >"$logs/table"
row planted found seconds "what the test saw"
declare -A clean
for bug in "${bugs[@]}"; do
    catcher=${catchers[$bug]}
    if has_servers "$catcher"; then own=yes; else own=no; fi
    [[ " ${clean[$own]:-} " == *" $(chosen "$catcher") "* ]] || clean[$own]="${clean[$own]:+${clean[$own]} | }$(chosen "$catcher")"
done
for own in "${!clean[@]}"; do
    # Without it nothing is proved by the others.
    see "" "$logs/none-$own.log" "$own" "${clean[$own]}" || exit 1
done
for bug in "${bugs[@]}"; do
    catcher=${catchers[$bug]}
    if has_servers "$catcher"; then own=yes; else own=no; fi
    see "$bug" "$logs/$bug.log" "$own" "$(chosen "$catcher")" || true
done
printf '\n' >&2
cat "$logs/table" >&2
exit $failed
