# One command each: to set up, to run, to check, to test, to measure.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run setup test check format benchmarks worlds faults scorecard lock audit clean

run: setup ## the main job against the simulated venues, Dagster's UI up
	$(BIN)/surveillance demo

setup: $(READY) ## install into .venv

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

test: setup ## the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: setup ## format, lint, types, import rules, definitions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/dg check defs

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmarks: setup ## ratios against limits and peers; exits 1 where a bound is missed
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r benchmarks/requirements.txt
	$(BIN)/python -m benchmarks

worlds: setup ## two simulated hours of three worlds, judged against the truth; exits 1 where one differs
	$(BIN)/python -m scorecard.worlds

faults: setup ## the whole fault matrix, its table into docs/reliability.md; exits 1 where a row fails
	$(BIN)/python -m tests.faults

scorecard: setup ## every acceptance figure into docs/scorecard.md (ONLY="checks faults": some of them); exits 1 where one falls short
	$(BIN)/python -m scorecard $(if $(ONLY),--only $(ONLY))

lock: ## renew requirements.lock (needs uv)
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate --no-strip-extras --output-file requirements.lock --upgrade

audit: setup ## known vulnerabilities of what is locked
	$(BIN)/pip-audit --require-hashes --disable-pip -r requirements.lock

clean:
	rm -rf $(VENV)
