# `make run` is all that a fresh machine needs; see README.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin/python
PIP := $(BIN) -m pip --disable-pip-version-check install --quiet --quiet --progress-bar off --require-hashes

# What checks of the source need, and no service: the settings for debugging.
LINT := DEBUG=1 $(BIN)

.DEFAULT_GOAL := help
.PHONY: help run test crash demo bench load emails examples fuzz lint locks

help:
	@echo "make run    run the whole service in the foreground (PORT=8000)"
	@echo "make demo   play a day of the platform against a running service"
	@echo "make load   load a running service and account for every event (LOAD=\"keygen-771 --seconds 60\")"
	@echo "make bench  measure ratios against baselines (FAST=1: in 3 minutes; WRITE=1: to docs/benchmarks.md)"
	@echo "make test   run every test (LONG=1: also longer forms of some)"
	@echo "make crash  kill parts of a service under load and account for every event (SEED=… FORM=kills|backlog EVENTS=20000 BACKLOG=200000)"
	@echo "make emails render every email to var/emails/index.html, with pictures (ONLY=revoked)"
	@echo "make examples record the API's examples anew"
	@echo "make fuzz   ask a running service everything that the schema allows, and what it does not (MINUTES=10 SEED=…)"
	@echo "make lint   check formatting, lint, types, import rules and migrations"

run: $(VENV)/installed
	@exec $(BIN) -m openvolt_events

demo: $(VENV)/installed
	@exec $(BIN) -m openvolt_events.demo

load: $(VENV)/installed
	@exec $(BIN) -m openvolt_events.load $(LOAD)

bench: $(VENV)/installed-dev
	@exec $(BIN) -m openvolt_events.bench $(if $(FAST),--fast) $(if $(WRITE),--write docs/benchmarks.md) $(if $(ONLY),--only $(ONLY))

test: $(VENV)/installed-dev
	@$(BIN) -m tests.support.browser
	@$(BIN) -m tests.support.redis
	@$(BIN) -m tests.support.clocks
	@$(BIN) -m tests.support.languages
	@exec $(BIN) -m pytest -n auto --dist loadfile --no-loadscope-reorder $(if $(LONG),,-m "not long")

crash: $(VENV)/installed-dev
	@exec $(BIN) -m tests.crash $(if $(FORM),--form $(FORM)) $(if $(SEED),--seed $(SEED)) $(if $(EVENTS),--events $(EVENTS)) $(if $(BACKLOG),--backlog $(BACKLOG))

emails: $(VENV)/installed-dev
	@exec $(BIN) -m tests.lookbook $(if $(ONLY),--only $(ONLY))

examples: $(VENV)/installed-dev
	@WRITE_EXAMPLES=1 $(BIN) -m pytest -q tests/openvolt_events/test_api_examples.py -k what_is_recorded

fuzz: $(VENV)/installed-dev
	@exec $(BIN) -m tests.fuzz --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

lint: $(VENV)/installed-dev
	$(BIN) -m ruff format --check .
	$(BIN) -m ruff check .
	$(LINT) -m mypy .
	$(VENV)/bin/lint-imports
	$(LINT) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run

# Pins every library again, to the newest versions that pyproject.toml allows. Needs uv on the PATH.
locks:
	uv pip compile --upgrade $(LOCK_OPTIONS) pyproject.toml -o requirements.txt
	uv pip compile --upgrade $(LOCK_OPTIONS) --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt
LOCK_OPTIONS := --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links

$(VENV)/made:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit("Python 3.11 or newer is needed, $(PYTHON) is %d.%d: make PYTHON=python3.12 …" % v[:2] if v < (3, 11) else 0)'
	@echo "Making a virtual environment in $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: requirements.txt | $(VENV)/made
	@echo "Installing the libraries (once, about a minute) …"
	@$(PIP) -r $<
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	@echo "Installing the tools for tests and checks (once, about a minute) …"
	@$(PIP) -r $<
	@touch $@
