#!/usr/bin/env bash
# What is shipped can be stopped at no failpoint, and no bug can be planted in it: the words by which they are chosen are in no program.
#
#   release-check.sh              builds the programs as the container image does, and looks into each
#   release-check.sh look FILE…   only looks into these
set -euo pipefail

# Where one of them is, somebody asks for it.
words=(PAYFLEET_FAILPOINTS PAYFLEET_PLANTED_BUG)

look() {
    local file word found=0
    for file in "$@"; do
        # Every program of ours asks for settings by such names: where not even they can be seen, nothing is proved.
        grep -qaF -- PAYFLEET_ "$file" || { printf '%s is no program of ours\n' "$file" >&2; exit 66; }
        for word in "${words[@]}"; do
            if grep -qaF -- "$word" "$file"; then
                printf '%s: asks for %s\n' "$file" "$word" >&2
                found=1
            fi
        done
    done
    return $found
}

if [ "${1:-}" = look ]; then
    shift
    look "$@"
    exit
fi
cd "$(dirname "$0")/../.."
SQLX_OFFLINE=true cargo build --release --locked --bins
built=()
for program in ingress relay gateway-worker gateway-sim payfleet; do
    built+=("${CARGO_TARGET_DIR:-target}/release/$program")
done
look "${built[@]}"
printf 'no failpoint and no planted bug in: %s\n' "${built[*]}"
