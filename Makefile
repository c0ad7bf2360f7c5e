# The commands a newcomer needs. project/bootstrap.py keeps the virtual environment up to date before each.
#   PYTHON=python3.12   the Python to make it with      VENV=/path    where it is
#   PORT=8001 HOST=...  where `make up` listens         DATA_DIR=...  where it keeps its data
#   ARGS="-k name"      more arguments for pytest, or for the benchmarks
PYTHON ?= python3
VENV ?= .venv
export VENV

.DEFAULT_GOAL := help
.PHONY: help up test check bench

help:
	@echo "make up      start everything here: web, worker, demo registry; Ctrl-C stops it"
	@echo "make test    set up what the tests need and run them all"
	@echo "make check   lint, types, imports, templates, migrations, docs"
	@echo "make bench   the benchmarks, beside their peers"

up:
	@exec $(PYTHON) project/bootstrap.py manage.py up

test:
	@exec $(PYTHON) project/bootstrap.py --development --packages -m pytest -n 2 --dist loadscope $(ARGS)

check:
	@$(PYTHON) project/bootstrap.py --development
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports
	@find templates -name '*.html' -exec $(VENV)/bin/djade --check --target-version 5.2 {} +
	@$(VENV)/bin/python manage.py makemigrations --check --dry-run
	@$(VENV)/bin/python manage.py check
	@$(VENV)/bin/python -m pytest -q -k docs

bench:
	@exec $(PYTHON) project/bootstrap.py --development --packages -m tests.benchmarks $(ARGS)
