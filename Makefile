# make book    build the book and say where it is
# make test    lint, types, tests, and every notebook in the smoke profile
# Both need Python 3.11 or newer and a package index, nothing else; the environment is made in .venv on first use.
# make pages   look at the built book in a browser, which has to be there: Chromium

PYTHON ?= python3
PROFILE ?= cpu
NOTEBOOK ?=
WORKERS ?= 2
PORT ?= 8000

BIN := .venv/bin
STAMP := .venv/.installed
INDEX := _build/html/index.html

# One thread a process, and threads that sleep while they wait: spinning threads make a busy machine several times slower.
QUIET := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

.DEFAULT_GOAL := help
.PHONY: help book test pages lint execute serve bench lock lowest clean

help:
	@echo "make book | test | pages | lint | execute [PROFILE=cpu NOTEBOOK=name] | serve | bench | lock | lowest | clean"

$(STAMP): requirements.lock constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fedlib needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@echo "installing into .venv (a minute or more the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock -c constraints.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

book: $(STAMP)
	@$(BIN)/jupyter-book build . -q -n -W --keep-going --all > /dev/null
	@echo "the book is at $(abspath $(INDEX))"

lint: $(STAMP)
	@$(BIN)/ruff check -q
	@$(BIN)/ruff format -q --check
	@$(BIN)/mypy --no-error-summary

test: lint
	@$(QUIET) $(BIN)/python -m pytest -q -n $(WORKERS)
	@$(QUIET) FEDLIB_PROFILE=smoke $(BIN)/python -m pytest -q -n $(WORKERS) --nbmake --nbmake-timeout=120 notebooks

pages: $(STAMP)
	@$(BIN)/python -m pytest -q -n $(WORKERS) tests/pages

execute: $(STAMP)
	@$(QUIET) $(BIN)/python tools/execute.py --profile $(PROFILE) $(NOTEBOOK)

serve: book
	@echo "http://127.0.0.1:$(PORT), ctrl-C to stop"
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory $(dir $(INDEX))

bench: $(STAMP)
	@$(BIN)/fedlib bench

lock: $(STAMP)
	@$(BIN)/python tools/lock.py

lowest:
	@tools/lowest.sh $(PYTHON)

clean:
	@rm -rf _build build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@find fedlib tests tools notebooks -name __pycache__ -prune -exec rm -rf {} +
