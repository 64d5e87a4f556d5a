# `make help` lists the targets. Every target sets up .venv by itself, once: the stamp file
# below is older than pyproject.toml or constraints.txt only when something changed there.
PYTHON   ?= python3
PIP_ARGS ?=
# `TORCH=installed` uses the torch that $(PYTHON) already has, in whatever version.
TORCH    ?=
# `make integration RAY=2.59.0` tests with another Ray, installed beside .venv.
RAY      ?=
PY       := .venv/bin/python
STAMP    := .venv/.installed
LINKS    := build/links

# Tests start many Pythons, which would all compile the modules again.
unexport PYTHONDONTWRITEBYTECODE

.SUFFIXES:
.DEFAULT_GOAL := help
.PHONY: help install links demo test check unit integration campaigns campaigns-short faults browser bench gpu-check clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{printf "make %-16s %s\n", $$1, $$2}'

install: $(STAMP) ## set up .venv

demo: $(STAMP) ## search, retrain and export on the built-in synthetic set, into runs/demo
	@.venv/bin/shiftsearch search demo

# Some tiers wait most of the time, `check` and `unit` never do: three run at once, whose number is
# chosen for two processors, and each shows what it printed when it ends.
test: $(STAMP) ## all checks and tests, before a commit
	@echo 'Checks and tests run side by side; each prints when it has ended, the first after a minute.'
	@$(MAKE) --no-print-directory --keep-going --jobs=3 $(if $(filter output-sync,$(.FEATURES)),-O) \
		integration campaigns-short check unit browser

check: $(STAMP) links ## lint, format, types
	@$(PY) -m ruff check --quiet .
	@$(PY) -m ruff format --check --quiet .
	@MYPYPATH=$(LINKS) $(PY) -m mypy --no-error-summary -p shiftsearch

# The package as it is installed, for mypy, which does not follow an editable install, and for a
# python without an installation.
links:
	@rm -rf $(LINKS) && mkdir -p $(LINKS)/shiftsearch
	@ln -s $(addprefix $(CURDIR)/,data model search experiments $(wildcard shiftsearch/*.py*)) \
		$(LINKS)/shiftsearch

# Each tier has its own process, so that the unit tier can check that nothing imported Ray.
unit: $(STAMP) ## tests without Ray, seconds
	@$(PY) -m pytest -q -m unit -n auto --timeout=240

integration: $(STAMP) $(RAY:%=build/ray-%/.installed) ## tests on local Rays, minutes
	@$(if $(RAY),build/ray-$(RAY)/bin/python,$(PY)) -m pytest -q -m integration -n 2 --dist loadgroup --no-loadscope-reorder --timeout=600

# An environment with a Ray and a shiftsearch of its own, and all other packages of .venv.
ADD_SITE = import pathlib, sysconfig; there, here = sysconfig.get_path("purelib"), \
	next(pathlib.Path("$(@D)").glob("lib/python*/site-packages")); \
	(here / "installed.pth").write_text(f"import site; site.addsitedir({there!r})\n")

build/ray-%/.installed: $(STAMP)
	@$(PY) -m venv --without-pip $(if $(filter installed,$(TORCH)),--system-site-packages) $(@D)
	@$(PY) -c '$(ADD_SITE)'
	@$(PY) -m pip --python $(@D)/bin/python install -q --disable-pip-version-check $(PIP_ARGS) \
		--no-deps ray==$* -e .
	@touch $@

campaigns: $(STAMP) ## kills and search quality, in full
	@$(PY) -m pytest -q -m campaign --full --timeout=3600

campaigns-short: $(STAMP) ## the short form of the campaigns, as in `make test`
	@$(PY) -m pytest -q -m campaign --timeout=600

faults: $(STAMP) ## the campaigns of kills and other faults, in full
	@$(PY) -m pytest -q -m campaign --full --timeout=3600 tests/campaigns

browser: $(STAMP) ## one real run in TensorBoard, optuna-dashboard and Chromium
	@$(PY) -m pytest -q -m browser --timeout=300

bench: $(STAMP) ## training throughput, overhead and calibration, against plain implementations
	@$(PY) -m shiftsearch.experiments.benchmarks.bench

# Needs neither Ray nor an installed shiftsearch, so that any machine with a GPU can run it.
gpu-check: links ## correctness and speed of a GPU (under 8 minutes)
	@PYTHONSAFEPATH=1 PYTHONPATH=$(LINKS) $(or $(wildcard $(PY)),$(PYTHON)) \
		-m shiftsearch.experiments.benchmarks.gpu_check

clean: ## remove .venv, build products and caches; runs/ stays
	@rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- set-up. The checks are $(error)s: one line each, before anything is written. ----
PYTHON_PROBE = import sys, importlib.util as u; print( \
	"old " + sys.version.split()[0] if sys.version_info < (3, 11) else \
	"no-venv" if not (u.find_spec("venv") and u.find_spec("ensurepip")) else \
	"no-torch" if sys.prefix != sys.base_prefix or not u.find_spec("torch") else "ok")

problem-none = $(PYTHON) does not run as Python 3: name a Python 3.11 or newer, as in \
	`make demo PYTHON=python3.11`
problem-old = Python 3.11 or newer is needed and $(PYTHON) is $(lastword $(1)): name another, \
	as in `make demo PYTHON=python3.11`
problem-no-venv = $(PYTHON) lacks the modules venv and ensurepip: install them (Debian and \
	Ubuntu: apt install python3-venv), then run make again
ifeq ($(TORCH),installed)
problem-no-torch = TORCH=installed needs a python that has torch outside any virtual \
	environment, and $(PYTHON) is not one; see docs/install.md
endif
refuse = $(if $(problem-$(firstword $(1))),$(error $(problem-$(firstword $(1)))))
check_python = $(call refuse,$(or $(shell $(PYTHON) -c '$(PYTHON_PROBE)' 2>/dev/null),none))

$(STAMP): pyproject.toml constraints.txt
	@:$(check_python)
ifneq ($(TORCH),installed)
	@echo 'Setting up .venv (once). About 80 packages come: 300 MB to download, 1.2 GB on disk, and torch.'
	@echo 'torch on Linux is the CUDA build unless you say otherwise: several GB. The CPU build is'
	@echo '200 MB (750 MB on disk). To choose it, stop now and add one of these to the make command:'
	@echo '  PIP_ARGS="--extra-index-url <the CPU index named on the PyTorch install page>"'
	@echo '  PIP_ARGS="--find-links DIR"   a folder that holds the torch wheel you want'
	@echo '  TORCH=installed               the torch that $(PYTHON) already has'
else
	@echo 'Setting up .venv (once) around the torch that $(PYTHON) has; about 80 further packages'
	@echo 'come: 300 MB to download, 1.2 GB on disk.'
endif
	@$(PYTHON) -m venv $(if $(filter installed,$(TORCH)),--system-site-packages) .venv
	@$(if $(filter installed,$(TORCH)),grep -v '^torch==' constraints.txt,cat constraints.txt) > .venv/constraints.txt
	@if [ -t 1 ]; then quiet=; else quiet=-q; fi; $(PY) -m pip install $$quiet \
		--disable-pip-version-check $(PIP_ARGS) -c .venv/constraints.txt -e '.[dev]'
	@touch $@
