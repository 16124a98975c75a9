# Everything a developer or a newcomer runs. `make demo` and `make test` need Python 3.11 to 3.13 and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Not with --quiet: warnings that are not printed are not counted either.
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

.DEFAULT_GOAL := help
.PHONY: help demo test check fmt docs site bench soak chaos long audit mutations lock meltano pythons release

help:  ## Show this list.
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

$(INSTALLED): pyproject.toml requirements-dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Queuemedic needs Python 3.11 or newer; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: $(INSTALLED)  ## Show a live queue whose workers really die; Ctrl-C ends it.
	@$(BIN)/queuemedic demo

test: $(INSTALLED)  ## Run the tests; what needs a program that is not installed is skipped and says so.
	$(BIN)/pytest --numprocesses 3 --dist worksteal -m 'not long'

check: $(INSTALLED)  ## Run linters, types and the rules of imports.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python docs/generate.py --check
	$(BIN)/python alerts/build.py --check
	$(BIN)/python alerts/reference.py --check
	$(BIN)/python dashboards/build.py --check
	$(SITE)

fmt: $(INSTALLED)  ## Format the code.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(INSTALLED)  ## Write what is made from the code: reference pages, dashboards, the operator's rules.
	$(BIN)/python docs/generate.py
	$(BIN)/python alerts/build.py
	$(BIN)/python alerts/reference.py
	$(BIN)/python dashboards/build.py

site: $(INSTALLED)  ## Build the documentation's site into site/; a broken link fails.
	$(SITE)

bench: $(INSTALLED)  ## Measure what Queuemedic costs beside its peers, and write docs/reference/performance.md.
	$(BIN)/python -m bench

soak: $(INSTALLED)  ## Run it for an hour in churn, faults and healing, and see that nothing grows.
	$(BIN)/python -m bench soak report

SEED ?= 1
SECONDS ?= 60

chaos: $(INSTALLED)  ## Make every fault at random and see that no promise breaks: SEED=1 SECONDS=60.
	$(BIN)/python -m tests.chaos --seed $(SEED) --seconds $(SECONDS)

long: $(INSTALLED)  ## Run the tests that take minutes each.
	$(BIN)/pytest -m long

audit: $(INSTALLED)  ## Look up known vulnerabilities of all that is pinned; where PyPI's list is out of reach, say so.
	$(BIN)/python -m tests.security.audit

mutations: $(INSTALLED)  ## Take out each safety rule, change each alert rule, and see that a test turns red.
	$(BIN)/python -m tests.mutations
	$(BIN)/python -m tests.rules.mutations

release: $(INSTALLED)  ## Build what is released into dist/: sdist, wheel, the chart where helm is, checksums.
	@sh deploy/release.sh

meltano: $(INSTALLED)  ## Install the releases of Meltano that tests run, for all runs to come; tests do so, too.
	@$(BIN)/python -m tests.lab.releases

pythons: $(INSTALLED)  ## Run the unit tests against the wheel on each other Python from 3.11 to 3.13 that is installed.
	@sh tests/pythons.sh

RESOLVE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
RELEASES = tests/lab/meltano_releases

lock: $(INSTALLED)  ## Resolve the development dependencies anew, and those of each release of Meltano.
	$(RESOLVE) --group dev --extra postgresql --output-file requirements-dev.txt pyproject.toml
	$(RESOLVE) --constraint requirements-dev.txt --group deploy --output-file deploy/requirements.txt
	$(RESOLVE) --constraint requirements-dev.txt --group build --output-file deploy/container/build-requirements.txt
	$(RESOLVE) --constraint requirements-dev.txt --extra postgresql --output-file deploy/container/requirements.txt pyproject.toml
	for version in $(basename $(notdir $(wildcard $(RELEASES)/*.txt))); do \
	    echo "meltano[postgres]==$$version" | $(RESOLVE) --only-binary :all: --output-file $(RELEASES)/$$version.txt - || exit; \
	done
