# Everything goes through `uv run --locked`. uv is taken from PATH, or put into a folder of its own: `uv sync` would
# remove one that lives in .venv. The python3 at hand is used, and none is ever downloaded; should it be that of an
# activated .venv, then the one behind it, for uv makes .venv anew when it is asked for another interpreter.

PYTHON ?= $(shell python3 -c 'import sys; print(sys.base_prefix + "/bin/python3")')
export UV_PYTHON = $(PYTHON)
export UV_PYTHON_DOWNLOADS = never
# Hundreds of processes of the tests import the same modules: without bytecode each would compile them for seconds.
export PYTHONDONTWRITEBYTECODE =

UV := $(or $(shell command -v uv),.uv/bin/uv)
# The settings of `make dev`.
ENV ?= .env

RUN := $(UV) run --locked --quiet

# What `make browser` has added to .venv stays: `uv sync` removes every package of a group that it is not told of.
BROWSER_GROUP = $(if $(wildcard .venv/lib/python*/site-packages/playwright),--group browser)

.DEFAULT_GOAL := help
.PHONY: help setup demo dev replay test systems faults chaos versions monitoring browser bench check audit format clean \
	python

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

demo: setup  ## Run one pipeline from start to end on real parts (KEEP=1 stays up)
	@$(RUN) stagehook demo $(if $(KEEP),--keep)

test: setup  ## Run the tests, real servers included
	@$(RUN) pytest -n 6 --dist worksteal $(ARGS)

systems: setup  ## Run the tests of whole systems, of several processes each, and of long runs
	@$(RUN) pytest -m system -n 4 --dist worksteal $(ARGS)

faults: setup  ## Run the slow fault tests, and more examples of the property tests
	@$(RUN) pytest -m "fault or hypothesis" --hypothesis-profile=thorough -n 3 --dist worksteal $(ARGS)

CHAOS = $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(STORE),--store $(STORE))

chaos: setup  ## Put a whole system under fire (SEED=7 SECONDS=60 STORE=postgres, sqlite or none)
	@$(RUN) python -m tests.chaos $(CHAOS) $(ARGS)

# The version in production, which a deploy replaces and a roll-back brings back: a commit or a tag. Name the new release
# here with each release. It is written down, not computed: the commit before HEAD is nearly the same code, and a fresh
# clone has neither a branch nor a time by which to tell what was released.
OLD ?= f3070d338f83edef72a551e501ee96af08653d11

versions: setup  ## Run this version and an old one side by side (OLD=COMMIT)
	@OLD="$(OLD)" $(RUN) pytest -m versions -n 2 --dist worksteal tests/versions $(ARGS)

monitoring: setup  ## Check the alerts by promtool, and every metric that alerts and dashboard use by a real scrape
	@bash .ci/promtool check rules monitoring/prometheus-rules.yml
	@bash .ci/promtool test rules monitoring/prometheus-rules.test.yml
	@$(RUN) pytest -q -m "system or not system" tests/test_monitoring.py $(ARGS)

browser: setup  ## Look at the console in a real Chromium (PICTURES=docs, SCREENSHOTS=FOLDER keep pictures)
	@bash .ci/browser
	@PICTURES="$(PICTURES)" SCREENSHOTS="$(SCREENSHOTS)" $(RUN) --group browser pytest -m browser -n 2 --dist loadscope tests/browser $(ARGS)

bench: setup  ## Measure door, burst, lanes, store and worker as ratios (ARGS="door --json FILE", OLD=COMMIT)
	@$(RUN) python -m benchmarks --old "$(OLD)" $(ARGS)

check: setup  ## Lint, check types and the import rule
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy
	@$(RUN) pytest -q tests/test_imports.py

audit: | $(UV)  ## Look for known vulnerabilities of the locked dependencies
	@UV="$(UV)" bash .ci/audit

dev: setup  ## Run Temporal, receiver, worker and sandbox partner in this terminal
	@$(RUN) stagehook dev --env $(ENV) $(ARGS)

replay: setup $(ENV)  ## Send captured deliveries again, to make dev (FROM=FILE)
	@test -n "$$FROM" || { echo "error: no file to replay from" >&2; \
		echo "  try: make replay FROM=.dev/demo.jsonl, which make demo has made" >&2; exit 1; }
	@set -a; . $(abspath $(ENV)); set +a; $(RUN) stagehook delivery replay --from "$$FROM" $(ARGS)

format: setup  ## Format the code
	@$(RUN) ruff check --fix .
	@$(RUN) ruff format .

clean:  ## Remove what the other targets made, .env excepted
	rm -rf .venv .uv .dev .cache tests/browser/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis

setup: python $(UV)
	@$(UV) sync --locked --quiet $(BROWSER_GROUP)

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(or $(PYTHON),python3) is missing or older than 3.11" >&2; \
		  echo "  try: install Python 3.11 or newer, or name one with make PYTHON=/path/to/python3" >&2; exit 1; }

# Debian's bare python3 has no ensurepip, and then no venv; pip alone can fill a folder.
.uv/bin/uv: | python
	@$(PYTHON) -m venv .uv 2>/dev/null && .uv/bin/python -m pip install --quiet --disable-pip-version-check uv || \
		{ rm -rf .uv && $(PYTHON) -m pip install --quiet --disable-pip-version-check --target .uv uv; } || \
		{ echo "error: uv could not be installed" >&2; \
		  echo "  try: install uv yourself, or Python with its venv or pip module" >&2; exit 1; }

$(ENV): | setup
	@$(RUN) stagehook dev --env $@ --only-env
