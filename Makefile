.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench campaign airgap lock clean
SHELL := /bin/bash
PYTHON := .venv/bin/python

help: ## Say what each target does
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## Install Debian packages and make the Python environments; quick when there is nothing to do
	@tools/setup.sh

demo: setup ## The whole thread from nothing: tokens, keys, packages, a device that installs, boots and refuses
	@$(PYTHON) demo/run.py

test: setup ## All tests except the long power-cut campaign
	@$(PYTHON) -m pytest -n 2 --dist worksteal -m "not campaign" tests

campaign: setup ## The long tests: every power cut, at full count
	@$(PYTHON) -m pytest -n 2 --dist worksteal -m campaign --hypothesis-profile=campaign tests

bench: setup ## Measure the figures; prints a table and writes build/bench.json
	@$(PYTHON) -m bench.run

check: setup ## Style, types, layers, texts and locks
	@tools/check.sh

airgap: setup ## The kit for ceremony machines without a network; KEY=… signs it (docs/spec/airgap-kit.md)
	@$(PYTHON) -m tools.airgap.build $(if $(KEY),--key "$(KEY)")

lock: setup ## Resolve the locks again from pyproject.toml
	@tools/lock.sh

clean: ## Remove what building and testing left; the environments stay
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
