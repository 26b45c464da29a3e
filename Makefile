# make demo: the whole job on a small corpus.   make paper: the tables of the paper (PAPER= says on what).
# make test: every test but the slow (make test-slow: those).   make docs: the site.   All set .venv up first.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
TRAIN_READY := $(VENV)/.ready-train

PAPER ?= --manifest manifests/paper.parquet --out runs/paper-tables

.PHONY: demo paper test test-slow lint docs bench clean
demo: $(TRAIN_READY)
	$(VENV)/bin/prep demo
	$(VENV)/bin/train --preset recipes/train-demo.toml --manifest manifests/demo.parquet --out runs/demo
	$(VENV)/bin/evaluate --manifest manifests/demo.parquet --checkpoint runs/demo/best
	$(VENV)/bin/prep report manifests/demo.parquet

paper: $(TRAIN_READY)
	$(VENV)/bin/evaluate paper paper-tables $(PAPER)

test: $(READY)
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest

test-slow: $(READY)
	$(VENV)/bin/python -m pytest -m slow

lint: $(READY)
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)

$(TRAIN_READY): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train]'
	touch $@

$(READY): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,train]'
	touch $@ $(TRAIN_READY)

docs: $(READY)
	$(VENV)/bin/python -W ignore -m mkdocs build --strict

bench: $(READY)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(VENV)/bin/python -W ignore -m benchmarks

clean:
	rm -rf $(VENV) demo-corpus runs/demo site .pytest_cache .mypy_cache .ruff_cache .hypothesis
