# DIP-VAE replication: `make replicate` and `make test` do all their own set-up, given python3 and make (3.81 or newer).
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help env env-notebooks env-lab env-test data plan replicate figures test test-browser bench publish readme lab sweep clean distclean

# Overrides, on the command line or in the environment. Empty ones are not passed on.
PYTHON ?= python3
VENV ?=
PROFILE ?=
SEEDS ?=
DEVICE ?=
DSPRITES ?=
DSPRITES_GIF ?=
CELEBA ?=
CHAIRS ?=
OUT ?=
ADDRESS ?=

quote = '$(subst ','\'',$(1))'
option = $(if $(strip $(2)),$(1) $(call quote,$(2)))
SETTINGS = $(call option,--profile,$(PROFILE)) $(call option,--seeds,$(SEEDS)) $(call option,--device,$(DEVICE))

ifneq ($(filter-out none,$(VENV)),)
$(error VENV=$(VENV): only VENV=none is known (use the interpreter at hand, install nothing))
endif
# Refused before anything is installed or rendered.
ifneq ($(filter-out smoke quick evening paper,$(PROFILE)),)
$(error unknown profile "$(PROFILE)": the profiles are smoke, quick, evening, paper)
endif
ifneq ($(filter-out cpu cuda,$(DEVICE)),)
$(error unknown device "$(DEVICE)": use cpu or cuda)
endif
ifneq ($(filter-out $(shell seq 1 100),$(SEEDS)),)
$(error SEEDS must be a whole number from 1 to 100 (how many seeds a setting), not "$(SEEDS)")
endif
BOOTSTRAP = $(call quote,$(PYTHON)) scripts/bootstrap.py --make-version $(MAKE_VERSION)
ifeq ($(VENV),none)
PY = $(call quote,$(PYTHON))
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))
SETUP = $(BOOTSTRAP) --check $(1)
else
PY = .venv/bin/python
export PYTHONPATH := $(CURDIR)
SETUP = $(BOOTSTRAP) $(if $(filter env,$(MAKECMDGOALS)),,--quiet)
endif

help: ## this list
	@echo "make TARGET [NAME=value ...]"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  PROFILE=smoke|quick|evening|paper   size of the runs (default: paper with CUDA, else quick)"
	@echo "  SEEDS=N  DEVICE=cpu|cuda    override the profile's seeds and the device found"
	@echo "  DSPRITES=path|download      use the official dSprites file;  DSPRITES_GIF=path: show its published frames"
	@echo "  CELEBA=path|download        use CelebA (its folder or zip) in place of the drawn faces"
	@echo "  CHAIRS=path|download        use 3D Chairs (rendered_chairs.tar, or its folder) in place of the drawn chairs"
	@echo "  PYTHON=path                 the interpreter that .venv is made from (3.11 or 3.12)"
	@echo "  VENV=none                   use PYTHON itself, install nothing (GPU images, Colab)"

env: ## set up .venv: Python, locked packages, torch (done by every target that needs it)
	@$(call SETUP,)

env-notebooks: # with VENV=none, papermill and its kind are asked for only where notebooks run
	@$(call SETUP,notebooks)

env-lab:
	@$(call SETUP,notebooks lab)

env-test:
	@$(call SETUP,notebooks test)

given = $(if $(filter download,$(1)),--download,--path $(call quote,$(1)))

data: env ## draw 2D Shapes, and stand-ins for CelebA and 3D Chairs unless those are given (DSPRITES=, CELEBA=, CHAIRS=)
	$(PY) -m data_prep.shapes2d --out data
ifneq ($(strip $(DSPRITES)),)
	$(PY) -m data_prep.dsprites $(call given,$(DSPRITES)) --out data
endif
	$(if $(strip $(CELEBA)),$(PY) -m data_prep.celeba $(call given,$(CELEBA)) --out data,test -e data/celeba.json || $(PY) -m data_prep.standins.faces --out data)
	$(if $(strip $(CHAIRS)),$(PY) -m data_prep.chairs $(call given,$(CHAIRS)) --out data,test -e data/chairs.json || $(PY) -m data_prep.standins.chairs --out data)

plan: env ## what `make replicate` would run here, how many runs, estimated minutes
	$(PY) -m replication.replicate --plan $(SETTINGS)

replicate: env-notebooks data ## everything: data, training, scores, tables, figures (continues where it was stopped)
	$(PY) -m replication.replicate $(SETTINGS) $(call option,--dsprites-gif,$(DSPRITES_GIF))

figures: env-notebooks ## tables and figures from the committed results, no training
	$(PY) -m replication.replicate --figures $(call option,--profile,$(PROFILE))

# One thread: the same numbers on every machine, and nothing to quarrel over two cores.
test: env-test ## all tests, the notebooks included
	OMP_NUM_THREADS=1 $(PY) -m pytest --nbval tests notebooks

# Apart from `test`: needs a browser and Playwright, which nothing else here does. It says what is missing and installs nothing.
test-browser: env-test ## the report page in a real browser (needs Chromium and Playwright)
	OMP_NUM_THREADS=1 $(PY) -m pytest tests/browser

sweep: env ## hand 2D Shapes runs to Ray, of the paper profile unless PROFILE= says (OUT=shared folder, ADDRESS=auto), see README
	$(PY) -m data_prep.shapes2d --out data
	$(PY) -m replication.engine.sweep $(SETTINGS) $(call option,--out,$(OUT)) $(call option,--address,$(ADDRESS))

bench: env ## measure rendering, training and scoring on this machine
	$(PY) scripts/bench.py

publish: env-notebooks ## copy the complete runs of a profile from runs/ to results/, to be committed
	$(PY) -m replication.replicate --publish $(call option,--profile,$(PROFILE))

readme: env-notebooks ## refresh README's tables from the result files
	$(PY) scripts/readme.py

lab: env-lab ## JupyterLab on the notebooks
	$(PY) -m jupyterlab --ServerApp.root_dir=. notebooks/00_start_here.ipynb

clean: ## remove caches and half-written files; keeps data, runs, results, figures and .venv
	find . \( -name .git -o -name .venv \) -prune -o \
	    \( -name __pycache__ -o -name .pytest_cache -o -name .ipynb_checkpoints -o -name '*.egg-info' \) -prune -exec rm -rf {} + \
	    -o -type f \( -name '*.part' -o -name '*.part.ipynb' -o -name '*.failed.ipynb' -o -name '*.progress' \) -exec rm -f {} +

distclean: clean ## clean, and remove .venv too; data, runs, results and figures stay
	rm -rf .venv
