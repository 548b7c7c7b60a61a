# Two commands need nothing but python3 and make: `make demo` and `make test`. `make help` lists the rest.

PYTHON ?= python3
DEX := .venv/bin/dex
RUN := .venv/bin/python -m
# The node that the set-up chose: the machine's, or that of a wheel.
NPM := PATH="$(CURDIR)/.venv/bin:$$PATH" npm --silent
# How many processes share the tests: one more than two cores need, since many tests wait.
JOBS ?= 3
# What `make test` hands to pytest: make test ARGS="tests/engine -k upsert".
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test test-postgres15 test-long accept screenshots lint format types generate check bench lock clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | expand -t 18

setup: ## make .venv, the packages of node and the console, or do nothing when they are up to date
	@$(PYTHON) scripts/bootstrap.py

demo: setup ## run a pipeline on recorded research and look at the rows
	@$(DEX) demo

serve: setup ## leave the API and the console up on an embedded database
	@$(DEX) serve --dev

test: ## every test, on the embedded Postgres 18; ARGS="..." for some
	@$(PYTHON) scripts/bootstrap.py --browser
	@$(RUN) scripts.test --jobs $(JOBS) $(ARGS)

test-postgres15: setup ## the tests that depend on the version of Postgres, on a system Postgres 15
	@$(RUN) scripts.test --second-server --jobs $(JOBS)

test-long: ## the laws at length: random histories and documents, 200 kills, 200 races for a budget; an hour
	@$(PYTHON) scripts/bootstrap.py --bench
	@$(RUN) scripts.test --jobs $(JOBS) -m "long or law"

accept: setup ## write the expected files of tests/cases again; read the diff before you commit it
	@$(DEX) accept
	@git --no-pager diff --stat -- tests/cases || true

screenshots: ## draw the pages of the console for the documentation, from the demo's data
	@$(PYTHON) scripts/bootstrap.py --browser
	@$(RUN) tests.console.screenshots

lint: setup ## ruff, and eslint and prettier in trigger/ and api/console/
	@$(RUN) ruff check
	@$(RUN) ruff format --check
	@$(NPM) --prefix trigger run lint
	@$(NPM) --prefix api/console run lint

format: setup ## let ruff, and prettier in trigger/ and api/console/, rewrite files
	@$(RUN) ruff check --fix
	@$(RUN) ruff format
	@$(NPM) --prefix trigger run format
	@$(NPM) --prefix api/console run format

types: setup ## mypy --strict, and tsc in trigger/ and api/console/
	@$(RUN) mypy
	@$(NPM) --prefix trigger run types
	@$(NPM) --prefix api/console run types

generate: setup ## write the files that follow from specs/, and the pages that follow from the engine
	@$(DEX) generate
	@$(RUN) scripts.docs

check: setup ## check the specs, and that the generated files are up to date
	@$(DEX) check
	@$(DEX) generate --check
	@$(RUN) scripts.docs --check

bench: ## measure the engine and what one would write by hand
	@$(PYTHON) scripts/bootstrap.py --bench
	@$(RUN) scripts.bench

lock: ## pin the newest allowed versions; needs uv
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade requirements-dev.in -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate requirements-run.in -o requirements-run.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade requirements-node.in -o requirements-node.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade requirements-uv.in -o requirements-uv.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade requirements-bench.in -o requirements-bench.lock

clean: ## remove what the targets above made, and the embedded database
	@# root's cluster may lie elsewhere, where an unprivileged server reaches it: see engine/embedded_postgres/data_folder.py
	@for link in .data/*/cluster; do if [ -L "$$link" ]; then rm -rf "$$(dirname "$$(readlink "$$link")")"; fi; done
	rm -rf .venv .data trigger/node_modules api/console/node_modules api/console/dist tests/console/browser/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
