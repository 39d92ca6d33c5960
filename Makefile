# `make` or `make help` lists the targets. Each sets itself up: .venv, pinned dependencies, Java.
PYTHON ?= python3
VENV := .venv
# On Linux without a GPU: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	--constraint conf/constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.DEFAULT_GOAL := help
.PHONY: help demo test lint clean java

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1	\2/'

demo: java $(VENV)/demo ## train, quantize, run the Spark job on real scans, print a table
	$(VENV)/bin/sparkq demo

test: java $(VENV)/test lint ## the whole test suite
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile

lint: $(VENV)/test ## flake8 and mypy
	$(VENV)/bin/python -m flake8
	$(VENV)/bin/python -m mypy

clean: ## remove what the targets made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .hypothesis sparkq-demo

java:
	@conf/check_java.sh

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else \
	"sparkq needs Python 3.10 to 3.13; $(PYTHON) is %d.%d. Hint: make demo PYTHON=python3.11" % v)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo: $(VENV)/bin/python setup.cfg pyproject.toml conf/constraints.txt
	$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/test: $(VENV)/bin/python setup.cfg pyproject.toml conf/constraints.txt
	$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/demo
