# Everything a developer or an operator of this tree types. Bare `make` lists it.
MAKEFLAGS += --no-print-directory
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
export PATH := $(CURDIR)/.dev/venv/bin:$(PATH)

# Statements are checked against .sqlx, so that no build needs a server.
OFFLINE := SQLX_OFFLINE=true
PAYFLEET := target/debug/payfleet
# Tests stop processes between two durable steps; nothing that is shipped can be stopped there.
TEST_FEATURES := --features failpoints

.DEFAULT_GOAL := help
.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: prepare
prepare: ## install what this machine lacks to build, run and test
	@lib/dev/prepare.sh tests

.PHONY: run
run: ## the whole fleet on this machine, with servers of its own; the API on port 15001
	@lib/dev/prepare.sh
	$(OFFLINE) cargo build --locked --bins
	@exec $(PAYFLEET) dev

.PHONY: test
test: ## build and run the tests, on servers of their own
	@lib/dev/prepare.sh tests
	$(OFFLINE) cargo build --locked $(TEST_FEATURES) --bins --tests
	$(OFFLINE) $(PAYFLEET) dev servers -- cargo nextest run --locked $(TEST_FEATURES) --no-fail-fast

.PHONY: test-long
test-long: ## guarantees at length: 5,000 payments under kills, 30 s without a broker, a million events, 100,000 hostile callbacks
	@lib/dev/prepare.sh tests
	$(OFFLINE) cargo build --locked $(TEST_FEATURES) --bins --tests
	PAYFLEET_TEST_PAYMENTS=$${PAYFLEET_TEST_PAYMENTS:-5000} PAYFLEET_TEST_OUTAGE_S=$${PAYFLEET_TEST_OUTAGE_S:-30} \
	PAYFLEET_TEST_EVENTS=$${PAYFLEET_TEST_EVENTS:-1000000} PAYFLEET_TEST_CALLBACKS=$${PAYFLEET_TEST_CALLBACKS:-100000} \
	    $(OFFLINE) $(PAYFLEET) dev servers -- cargo nextest run --locked $(TEST_FEATURES) --no-fail-fast --no-capture fleet:: callback::hostile

.PHONY: outage
outage: ## ten minutes without a broker under a steady load, waits and leases as in production
	@lib/dev/prepare.sh tests
	PAYFLEET_TEST_OUTAGE_S=600 $(OFFLINE) cargo nextest run --locked $(TEST_FEATURES) --no-capture fleet::broker_away

# What is not given is as in `make test`; the seed may be `random`.
CHAOS = $(if $(SEED),PAYFLEET_CHAOS_SEED=$(SEED)) $(if $(MINUTES),PAYFLEET_CHAOS_MINUTES=$(MINUTES)) \
    $(if $(SCALE),PAYFLEET_CHAOS_SCALE=$(SCALE)) $(if $(SCHEDULE),PAYFLEET_CHAOS_SCHEDULE=$(SCHEDULE))
.PHONY: chaos
chaos: ## break everything for a while, as in make chaos SEED=7 MINUTES=10 SCALE=1, and judge what is left of the books
	@lib/dev/prepare.sh tests
	$(OFFLINE) cargo build --locked $(TEST_FEATURES) --bins --tests
	$(CHAOS) $(OFFLINE) cargo nextest run --locked $(TEST_FEATURES) --no-capture chaos::a_fleet

.PHONY: apart
apart: ## one gateway frozen, one flapping: what those notice of it who pay by a third
	@lib/dev/prepare.sh tests
	$(OFFLINE) cargo nextest run --locked --cargo-profile release --run-ignored only --no-capture fleet::apart

.PHONY: overload
overload: ## ten times more payments than can be taken, ten thousand idle connections, slow clients: how long everybody waits
	@lib/dev/prepare.sh tests
	$(OFFLINE) cargo nextest run --locked --cargo-profile release --run-ignored only --no-capture fleet::overload

.PHONY: planted-bugs
planted-bugs: ## plant bugs, one after the other, and see each found: all, or bug=no-send-by; by=chaos: by two minutes of chaos
	@lib/dev/prepare.sh tests
	@lib/dev/planted-bugs.sh $(if $(by),--by $(by)) $(bug)

.PHONY: check
check: ## formatting, lints, dependencies: no warning allowed
	@lib/dev/prepare.sh tests
	cargo fmt --check
	$(OFFLINE) cargo clippy --locked --all-targets --all-features -- -D warnings
	cargo deny --log-level error check bans licenses sources

.PHONY: release-check
release-check: ## build what is shipped, and see that it can be stopped at no failpoint and has no bug planted
	@lib/dev/prepare.sh
	@lib/dev/release-check.sh

.PHONY: sqlx
sqlx: ## regenerate .sqlx after a statement or a migration has changed
	@lib/dev/prepare.sh tests
	@lib/dev/sqlx.sh

.PHONY: bench
bench: ## ratios of what payfleet reaches to what the machine could: a table, after about half an hour on an idle machine
	@lib/dev/prepare.sh tests
	$(OFFLINE) cargo bench --locked --bench ratios

.PHONY: deploy
deploy: ## the whole fleet in containers, each process of its own; the API on port 15001
	@{ docker compose version && docker info; } >/dev/null 2>&1 || { echo "make deploy needs Docker with Compose, running: see https://docs.docker.com/compose/install, then run this again." >&2; exit 1; }
	@lib/dev/deploy.sh
	docker compose up --detach --build --wait
	@echo "API http://localhost:15001, simulator http://localhost:15010, Grafana http://localhost:3000, Prometheus http://localhost:9090"

REPLICAS := $(strip $(foreach service,relay gateway-worker,$(if $($(service)),$(service)=$($(service)))))
.PHONY: scale
scale: ## replicas in containers, as in `make scale relay=3 gateway-worker=4`
	@[ -n "$(REPLICAS)" ] || { echo "how many of which? As in: make scale relay=3 gateway-worker=4" >&2; exit 64; }
	docker compose scale $(REPLICAS)

.PHONY: logs
logs: ## follow the containers' logs
	docker compose logs --follow --tail 100

# Where tests have fleets of their own: a run of them that was killed has left servers there.
HOMES_OF_TESTS := target/tmp/dev target/tmp/fleet
HOMES = $(wildcard .dev target/tmp/dev/* target/tmp/fleet)
.PHONY: clean
clean: ## remove containers and their data, and everything that `make run` and `make test` keep
	@if [ -e .dev/deploy ] && docker compose version >/dev/null 2>&1; then docker compose down --volumes --remove-orphans; fi
	@if [ -x $(PAYFLEET) ]; then for home in $(HOMES); do $(PAYFLEET) dev --directory "$$home" clean; done; fi
	rm -rf .dev $(HOMES_OF_TESTS) target/tmp/chaos
