# Everything a developer or a curious user does, by name. `make` alone lists it.
# A target installs what it needs: Debian packages through apt (as root or with sudo; only the missing
# ones), Python packages in .venv (pinned in requirements/). Repeats do neither.
#
#   make test ARGS='-k deadline'    more arguments for pytest
#   PYTHON=/opt/python/bin/python3  the interpreter for .venv; default: the first python3 that is >= 3.11
#   PACKAGES=no                     never call apt

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/.ready
ROOT := tools/as-root.sh
ROOT_OR_ME := tools/as-root.sh --if-possible
PYTEST := $(BIN)/python -m pytest
FAST := -m 'not lab and not guest and not torque' tests/unit
ARGS ?=

# The pure core, on which coverage and mutation are measured: mutmut's list in pyproject.toml.
CORE := $(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["tool"]["mutmut"]["only_mutate"], sep=",")'

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(READY) ## the virtual environment .venv, with this checkout installed in it

$(READY): pyproject.toml tools/venv.sh $(wildcard requirements/*.txt)
	@tools/packages.sh python
	@tools/venv.sh $(VENV)
	@touch $@

.PHONY: demo
demo: $(READY) ## a two-node lab, a job of four guests in it, its output and timeline, nothing left
	@tools/packages.sh lab
	@$(ROOT) $(BIN)/torque-vm demo $(ARGS)

.PHONY: test
test: $(READY) ## all tests: pure ones, libvirt's test driver, and real guests in the lab
	@tools/packages.sh --if-possible lab
	@$(ROOT_OR_ME) $(PYTEST) $(ARGS)

.PHONY: test-fast
test-fast: $(READY) ## tests without privileges: pure ones and libvirt's test driver
	@$(PYTEST) $(FAST) $(ARGS)

.PHONY: test-property
test-property: $(READY) ## submitting and pinning, with 10,000 random examples for each rule
	@TORQUE_VM_EXAMPLES=10000 $(PYTEST) --timeout 3600 $$(grep -l '_kit import.*EXAMPLES' tests/unit/test_*.py) $(ARGS)

.PHONY: test-lab
test-lab: $(READY) ## only the tests with real libvirtd and guests (root)
	@tools/packages.sh lab
	@$(ROOT) $(PYTEST) -m 'lab or guest' $(ARGS)

.PHONY: test-torque
test-torque: $(READY) ## tests that need a TORQUE installation on the PATH (root)
	@tools/packages.sh lab
	@$(ROOT) env PATH="$$PATH" $(PYTEST) -m torque tests/torque $(ARGS)

.PHONY: lint
lint: $(READY) ## ruff (rules and format) and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

.PHONY: cov
cov: $(READY) ## line coverage of the fast tests; fails below 95 % on the pure core
	@$(PYTEST) $(FAST) --cov --cov-report= $(ARGS)
	@$(BIN)/coverage report --skip-covered
	@$(BIN)/coverage report --fail-under=95 --include="$$($(CORE))"

.PHONY: mutants
mutants: $(READY) ## mutation testing of the pure core; fails below a score of 85 %
	@rm -rf mutants; mkdir -p .cache
	@$(BIN)/mutmut run >.cache/mutmut.log 2>&1 || { tail -n 20 .cache/mutmut.log; exit 1; }
	@$(BIN)/mutmut results
	@$(BIN)/mutmut export-cicd-stats >/dev/null
	@$(BIN)/python tools/mutation_score.py mutants/mutmut-cicd-stats.json 85

.PHONY: bench
bench: $(READY) ## what it costs against bare floors; fails above the limits of docs/benchmarks.md
	@tools/packages.sh lab
	@$(ROOT) $(BIN)/python -m bench $(ARGS)

.PHONY: clean
clean: ## remove .venv and everything else that was built here
	@rm -rf $(VENV) build dist mutants htmlcov .coverage .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: lab-down
lab-down: $(READY) ## remove a lab that was left behind
	@$(ROOT) $(BIN)/torque-vm lab down
