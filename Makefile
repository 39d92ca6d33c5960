# `make` or `make help` lists the targets. Each sets itself up: .venv, pinned dependencies, Java.
PYTHON ?= python3
VENV := .venv
# On Linux without a GPU: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
# make package: where to, the interpreter that the cluster's nodes have, and packages beside what sparkq requires (openvino).
DIST ?= dist
NODE_PYTHON ?= /usr/bin/python3.11
PACKAGES ?=
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	--constraint conf/constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

# Files of tests in the order of tests/conftest.py, which ends with the short ones: neither process waits long for the other.
TWO_PROCESSES := --numprocesses 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help airflow s3a demo test smoke lint package clean java

help: ## list the targets
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## (.*)/  make \1	\2/'

demo: java $(VENV)/demo ## train, quantize, run the Spark job on real scans, print a table
	$(VENV)/bin/sparkq demo

test: java airflow s3a $(VENV)/test lint ## the whole test suite
	$(VENV)/bin/python -m pytest $(TWO_PROCESSES)

smoke: java $(VENV)/test ## the demo and all tests without a JVM; of another Python: make smoke PYTHON=python3.10 VENV=.venv-3.10
	$(VENV)/bin/python -m pytest $(TWO_PROCESSES) -m smoke

lint: $(VENV)/test ## flake8 and mypy
	$(VENV)/bin/python -m flake8
	$(VENV)/bin/python -m mypy

package: $(VENV)/bin/python ## what EMR takes, in dist: wheel, environment.tar.gz for --archives, its checksum
	rm -rf $(DIST)/build $(DIST)/sparkq-*.whl && mkdir -p $(DIST)/build/source
	cp -r pyproject.toml setup.cfg README.md LICENSE sparkq $(DIST)/build/source
	$(VENV)/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(DIST) $(DIST)/build/source
	$(if $(TORCH_INDEX),PIP_EXTRA_INDEX_URL=$(TORCH_INDEX)) PYTHON=$(VENV)/bin/python NODE_PYTHON=$(NODE_PYTHON) \
		conf/emr/build_environment.sh $(DIST)/sparkq-*.whl $(DIST)/build/environment $(PACKAGES)
	tar -C $(DIST)/build/environment --use-compress-program='gzip -1' -cf $(DIST)/environment.tar.gz .
	cd $(DIST) && sha256sum environment.tar.gz > environment.tar.gz.sha256
	cp jobs/predict_images.py $(DIST)
	rm -rf $(DIST)/build

airflow: .venv-airflow/ready ## Airflow, in an environment of its own, for jobs/airflow

s3a: .venv-s3a/ready ## Spark 3.5 with Hadoop's S3A client, in an environment of its own, for tests/spark/s3a

clean: ## remove what the targets made
	rm -rf $(VENV) .venv-3.* .venv-airflow .venv-s3a airflow-home build dist *.egg-info .mypy_cache .pytest_cache .hypothesis sparkq-demo

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

# All pinned, and what the two providers drag in but jobs/airflow does not use is left out: --no-deps.
.venv-airflow/ready: conf/airflow/constraints.txt
	rm -rf .venv-airflow
	$(PYTHON) -m venv .venv-airflow
	.venv-airflow/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	@touch $@

# Spark and py4j of its own come first on its path; all else, sparkq with it, is that of the tests.
.venv-s3a/ready: conf/s3a/constraints.txt | $(VENV)/test
	rm -rf .venv-s3a
	$(VENV)/bin/python -m venv .venv-s3a
	.venv-s3a/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	packages=$$($(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
		echo "import site; site.addsitedir('$$packages')" > \
		"$$(.venv-s3a/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/borrowed.pth"
	@touch $@
