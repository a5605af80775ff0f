# Two commands are enough: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3
# A CPU build where the package index offers one under this version; on a GPU node set
# TORCH=torch, or install torch into .venv by hand first.
TORCH ?= torch==2.13.0
VENV := .venv
NEQUIP := .venv-nequip
REMOTE := .venv-remote
EQUIFORMER := .venv-equiformer
DOCS := .venv-docs
WHEEL := .venv-wheel
# Folder with the versions the tests passed with, a file an environment; `make CONSTRAINTS= …` takes
# the newest releases instead.
CONSTRAINTS ?= constraints
pinned = $(addprefix -c ,$(if $(CONSTRAINTS),$(wildcard $(CONSTRAINTS)/$(1).txt)))
# Processes that share the tests; each wants a core and some 2 GB of memory.
TEST_WORKERS ?= 2
# What is imported is compiled once, after the installation (half a minute on two cores), and not by
# every process anew, which costs each of them 10 s. Left out are tests of other packages, and large
# packages of which little or nothing is imported: what is, is compiled at the first import, and so
# is all of the small environments of single tests.
PIP := -m pip install -q --no-compile
UNUSED := tests?|testing|pip|plotly|setuptools|mypyc?|sympy|sklearn|debugpy|fontTools|pygments|secantus
UNUSED := $(UNUSED)|networkx|Cython|narwhals|IPython|phonopy|botocore|_inductor|onnx|torchgen
COMPILE = -m compileall -q -j 2 -x '/($(UNUSED))/' src
SITE = lib/python3*/site-packages
# containers often set it, and then nothing stays compiled
unexport PYTHONDONTWRITEBYTECODE
PYTEST := -m pytest -n $(TEST_WORKERS) --dist worksteal --durations=25
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-main test-nequip test-remote test-docs test-equiformer test-slow test-wheel
.PHONY: docs lint wheel constraints clean

demo: $(VENV)/.ready
	$(VENV)/bin/onfly demo

# The parts behind the main one wait for processes of their own much of the time: side by side.
test: test-main
	$(MAKE) --output-sync=line -j$(TEST_WORKERS) test-nequip test-remote test-docs

test-main: $(VENV)/.ready-test
	$(VENV)/bin/python $(PYTEST) tests -m "not slow and not nequip and not equiformer and not remote and not dft"

# The e3nn pins of mace-torch and of the nequip family exclude each other.
test-nequip: $(NEQUIP)/.ready
	$(NEQUIP)/bin/python $(PYTEST) tests/potentials -m "nequip and not slow"

# jobflow-remote pins an old pymongo.
test-remote: $(REMOTE)/.ready
	$(REMOTE)/bin/python $(PYTEST) tests/remote -m "remote and not slow"

# fairchem-core 1.x pins old torch and numpy. Not part of `make test`: the environment takes 2 GB.
test-equiformer: $(EQUIFORMER)/.ready
	$(EQUIFORMER)/bin/python -m pytest tests/potentials -m "equiformer and not slow"

test-slow: $(VENV)/.ready-test
	$(VENV)/bin/python -m pytest tests -m "slow and not nequip and not remote"

lint: $(VENV)/.ready-test
	$(VENV)/bin/ruff check src tests benchmarks examples workflows
	$(VENV)/bin/ruff format --check src tests benchmarks
	$(VENV)/bin/mypy

# Strict: a page, link, anchor or documented name that does not exist is an error. Sources are read,
# not imported, so neither torch nor onfly is installed for it.
docs: $(DOCS)/.ready
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

test-docs: docs

wheel: $(VENV)/.ready-test
	rm -rf dist
	$(VENV)/bin/python -m hatchling build -t wheel

# What a user gets: the wheel in an empty environment without any extra. Not part of `make test`: it
# takes minutes.
test-wheel: wheel
	rm -rf $(WHEEL) && $(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/python $(PIP) "$(TORCH)"
	$(WHEEL)/bin/python $(PIP) $(call pinned,main) dist/*.whl
	cd $(WHEEL) && bin/onfly --help && bin/python -c "import onfly; print(onfly.__file__)"
	cd $(WHEEL) && ONFLY_ARTIFACT_DIR=artifacts ONFLY_STORE_DIR=store \
	  bin/python ../examples/01_first_run.py

# Written from the environments that there are; torch stays open.
constraints:
	for name in main nequip remote docs; do \
	  venv=.venv$$(test $$name = main || echo -$$name); test -x $$venv/bin/python || continue; \
	  $$venv/bin/python -m pip freeze --exclude-editable --exclude torch --exclude onfly \
	    | grep -E '^[A-Za-z0-9._-]+==' | grep -vE '^(nvidia-.*-cu[0-9]+|cuda-.*|triton)==' \
	    > constraints/$$name.txt; \
	done

$(VENV)/.ready: pyproject.toml $(wildcard constraints/main.txt)
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python $(PIP) "$(TORCH)"
	$(VENV)/bin/python $(PIP) $(call pinned,main) -e ".[chgnet,mace,properties,tblite]"
	-$(VENV)/bin/python $(COMPILE) $(VENV)/$(SITE)
	touch $@

# The database server of the tests is a program of its own under the GPL: it is started, never
# imported, and its Python dependencies are not needed.
$(VENV)/.ready-test: $(VENV)/.ready
	$(VENV)/bin/python $(PIP) $(call pinned,main) -e ".[test,dev]"
	$(VENV)/bin/python $(PIP) --no-deps secantusdb==0.6.0b17
	-$(VENV)/bin/python $(COMPILE) $(VENV)/$(SITE)
	touch $@

$(DOCS)/.ready: pyproject.toml $(wildcard constraints/docs.txt)
	test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python $(PIP) "pip>=25.1"
	$(DOCS)/bin/python $(PIP) $(call pinned,docs) --group docs
	touch $@

$(NEQUIP)/.ready: pyproject.toml $(wildcard constraints/nequip.txt)
	test -x $(NEQUIP)/bin/python || $(PYTHON) -m venv $(NEQUIP)
	$(NEQUIP)/bin/python $(PIP) "$(TORCH)"
	$(NEQUIP)/bin/python $(PIP) $(call pinned,nequip) -e ".[nequip,test]"
	touch $@

$(EQUIFORMER)/.ready: pyproject.toml
	test -x $(EQUIFORMER)/bin/python || $(PYTHON) -m venv $(EQUIFORMER)
	$(EQUIFORMER)/bin/python $(PIP) "$(TORCH)"
	$(EQUIFORMER)/bin/python $(PIP) -e ".[equiformer,test]"
	$(EQUIFORMER)/bin/python $(PIP) --no-deps fairchem-core==1.10.0
	touch $@

$(REMOTE)/.ready: pyproject.toml $(wildcard constraints/remote.txt)
	test -x $(REMOTE)/bin/python || $(PYTHON) -m venv $(REMOTE)
	$(REMOTE)/bin/python $(PIP) "$(TORCH)"
	$(REMOTE)/bin/python $(PIP) $(call pinned,remote) -e ".[remote,test]"
	$(REMOTE)/bin/python $(PIP) --no-deps secantusdb==0.6.0b17
	touch $@

clean:
	rm -rf $(VENV) $(NEQUIP) $(REMOTE) $(EQUIFORMER) $(DOCS) $(WHEEL) onfly-demo site dist
