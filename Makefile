# Everything a developer or an operator of this tree types. Bare `make` lists it.
MAKEFLAGS += --no-print-directory
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
export PATH := $(CURDIR)/.dev/venv/bin:$(PATH)

# Statements are checked against .sqlx, so that no build needs a server.
OFFLINE := SQLX_OFFLINE=true
PAYFLEET := target/debug/payfleet

.DEFAULT_GOAL := help
.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: prepare
prepare: ## install what this machine lacks to build, run and test
	@lib/dev/prepare.sh tests

.PHONY: test
test: ## build and run all tests, on servers of their own
	@lib/dev/prepare.sh tests
	$(OFFLINE) cargo build --locked --bins --tests
	$(OFFLINE) $(PAYFLEET) dev servers -- cargo nextest run --locked --no-fail-fast

.PHONY: check
check: ## formatting, lints, dependencies: no warning allowed
	@lib/dev/prepare.sh tests
	cargo fmt --check
	$(OFFLINE) cargo clippy --locked --all-targets -- -D warnings
	cargo deny --log-level error check bans licenses sources

.PHONY: sqlx
sqlx: ## regenerate .sqlx after a statement or a migration has changed
	@lib/dev/prepare.sh tests
	@lib/dev/sqlx.sh
