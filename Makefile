# make demo   train, adapt, plot and film an agent, in minutes
# make test   every test            make lint    ruff, and mypy on the core
# make docs   the documentation     make clean   remove what make made
#
# Each does everything on a machine with Python 3.11 or newer and make: a virtual environment in .venv, the pinned
# packages of constraints.txt, the work. A second call installs nothing.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
# The first interpreter that is new enough and can make virtual environments; `make PYTHON=...` chooses another.
CANDIDATES := python3.12 python3.11 python3.13 python3.14 python3 python
FIT := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach each,$(CANDIDATES),$(shell $(each) -c '$(FIT)' 2>/dev/null && echo $(each))))
# Without an NVIDIA GPU the CPU build of torch is taken, a tenth of the download, if its index can be reached.
CPU_TORCH := https://download.pytorch.org/whl/cpu
REACHABLE := import urllib.request; urllib.request.urlopen("$(CPU_TORCH)/torch/", timeout=5)

.PHONY: demo test lint docs clean install

demo: $(VENV)/.installed
	$(BIN)/python -m metarl demo $(ARGS)

test: $(VENV)/.tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(ARGS)

lint: $(VENV)/.tests
	$(BIN)/ruff check .
	$(BIN)/mypy metarl

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

install: $(VENV)/.installed

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with venv was found (on Debian and Ubuntu:" \
		"apt-get install python3-venv); or name one: make PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.torch: constraints.txt | $(VENV)/.python
	@index=""; \
	if ! command -v nvidia-smi >/dev/null && $(BIN)/python -c '$(REACHABLE)' >/dev/null 2>&1; \
		then index="--extra-index-url $(CPU_TORCH)"; fi; \
	echo "installing torch"; $(PIP) $$index torch setuptools
	@touch $@

$(VENV)/.installed: pyproject.toml setup.py $(VENV)/.torch
	@echo "installing metarl and what it needs"; $(PIP) -e ".[plots,video,images,games]"
	@touch $@

$(VENV)/.tests: $(VENV)/.installed
	@echo "installing what the tests need"; $(PIP) -e ".[plots,video,images,games,dev]"
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	@echo "installing what the documentation needs"; $(PIP) -e ".[plots,video,images,games,docs]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
