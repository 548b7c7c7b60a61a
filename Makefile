# Two commands need nothing but python3 and make: `make demo` and `make test`. `make help` lists the rest.

PYTHON ?= python3
DEX := .venv/bin/dex
RUN := .venv/bin/python -m
# The node that the set-up chose, the machine's or a wheel's.
NPM := PATH="$(CURDIR)/.venv/bin:$$PATH" npm --prefix trigger --silent
# How many processes share the tests.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test lint format types generate check bench lock clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

setup: ## make .venv and trigger/node_modules, or do nothing when they are up to date
	@$(PYTHON) scripts/bootstrap.py

demo: setup ## run a pipeline on recorded research and look at the rows
	@$(DEX) demo

serve: setup ## leave the API up on an embedded database
	@$(DEX) serve --dev

test: setup ## every test: embedded Postgres, a system Postgres 15 where there is one, then trigger/
	@$(RUN) scripts.test --jobs $(JOBS)

lint: setup ## ruff, and eslint in trigger/
	@$(RUN) ruff check
	@$(RUN) ruff format --check
	@$(NPM) run lint

format: setup ## let ruff mend what it can
	@$(RUN) ruff check --fix
	@$(RUN) ruff format

types: setup ## mypy --strict on engine and api, tsc on trigger/
	@$(RUN) mypy
	@$(NPM) run types

generate: setup ## write everything that follows from specs/, and the pages that follow from the engine
	@$(DEX) generate
	@$(RUN) scripts.docs

check: setup ## check the specs, and that the generated files follow from them
	@$(DEX) check
	@$(DEX) generate --check
	@$(RUN) scripts.docs --check

bench: ## measure against what one would write by hand
	@$(PYTHON) scripts/bootstrap.py --bench
	@$(RUN) scripts.bench

lock: ## pin the newest allowed versions; needs uv
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade requirements-dev.in -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade requirements-node.in -o requirements-node.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade requirements-bench.in -o requirements-bench.lock

clean: ## remove what the targets above made, the embedded database included
	@# root's cluster may lie elsewhere, where an unprivileged server reaches it: see engine/embedded_postgres/data_folder.py
	@for link in .data/*/cluster; do if [ -L "$$link" ]; then rm -rf "$$(dirname "$$(readlink "$$link")")"; fi; done
	rm -rf .venv .data trigger/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
