# One command each; CI calls the same. Everything a target needs it sets up by itself.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
python := .venv/bin/python
cache := $${TURNOUT_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/turnout}

.PHONY: help setup testbed check test unit golden bench demo demo-down cluster cluster-down generate clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## Install uv, the locked dependencies and the engine library
	@scripts/setup

testbed: ## Build etcd, kube-apiserver, controller-manager, kubectl and helm into the cache (minutes, once)
	@python3 testing/src/turnout_testing/binaries.py

check: setup ## Lint, types, import contracts, generated files
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(python) -m turnout_operator.api.crdgen --check
	$(python) -m turnout_operator.api.reference --check

test: ## All checks and all tests, on real parts (what CI runs)
	@scripts/test

unit: setup ## Only the tests that need neither Envoy nor Kubernetes
	$(python) -m pytest -q -m "not envoy and not apiserver"

golden: setup ## Rewrite golden files and generated files; review the diff like code
	$(python) -m turnout_operator.api.crdgen
	$(python) -m turnout_operator.api.reference
	-TURNOUT_GOLDEN=1 $(python) -m pytest -q tests/compiler tests/xds tests/exchange
	git --no-pager diff --stat

bench: setup ## Requests per second, streams and added time to first token, as ratios to bare Envoy in one run
	$(python) -m bench.run $$([ "$$(id -u)" = 0 ] && echo --install)

demo: setup testbed ## The main job: operator, two sidecars, real trace, an outage, a budget that runs out, a drill
	@$(python) -m demo.run

demo-down: ## End what `make demo` left up
	@$(python) -m demo.down

cluster: setup testbed ## A local control plane with the chart and two operators, for trying things by hand
	@$(python) -m turnout_testing.cluster up

cluster-down: ## End it
	@$(python) -m turnout_testing.cluster down

clean: ## Remove what builds and tests left in the checkout (not the cache)
	rm -rf .turnout .pytest_cache .mypy_cache .ruff_cache .hypothesis
