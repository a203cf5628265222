# DIP-VAE replication: every target does its own set-up, given python3 and make (3.81 or newer).
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.SILENT:
.DEFAULT_GOAL := help
.PHONY: help env env-notebooks env-lab env-test data plan train replicate figures test test-browser
.PHONY: test-kill lint sweep bench publish readme lab notebooks-clean clean distclean

# ---- names and values on the command line (or, the same names, in the environment) ----

PROFILES := smoke quick evening night paper
uses_data := DSPRITES CELEBA CHAIRS
uses_plan := PROFILE SEEDS DEVICE
uses_train := $(uses_plan) $(uses_data)
uses_replicate := $(uses_train) DSPRITES_GIF
uses_figures := PROFILE
uses_publish := PROFILE
uses_sweep := $(uses_plan) OUT ADDRESS
uses_test-kill := KILLS
NAMES := $(uses_replicate) OUT ADDRESS KILLS PYTHON VENV

# A name that is mistyped, or that a target would pass over, stops make before any work.
GOALS := $(or $(MAKECMDGOALS),help)
TAKES := $(foreach goal,$(GOALS),$(uses_$(goal)))
TAKES += $(if $(filter-out help clean distclean,$(GOALS)),PYTHON VENV)
GIVEN := $(foreach n,$(.VARIABLES),$(if $(filter command,$(origin $(n))),$(n)))
ifneq ($(filter-out $(TAKES),$(GIVEN)),)
$(error `make $(GOALS)` does not know $(filter-out $(TAKES),$(GIVEN)); \
it takes $(or $(strip $(TAKES)),no names))
endif

# Values are literal: a $ in one is no variable. A leading ~/ is the home folder. No value holds a
# line break, so that a line break can stand for its beginning and its end.
define line


endef
none :=
space := $(none) $(none)
literal = $(subst $(line),,$(subst $(line)~/,$(value HOME)/,$(line)$(value $(1))))
$(foreach n,$(NAMES),$(if $(findstring $(line),$(value $(n))),$(error $(n) holds a line break)))
$(foreach n,$(NAMES),$(eval override $(n) := $$(call literal,$(n))))

# $(call among,VALUE,WORDS): not empty where the value as a whole is one of the words.
among = $(findstring $(line)$(1)$(line),$(line)$(subst $(space),$(line),$(2))$(line))
digits := 0 1 2 3 4 5 6 7 8 9
to_100 := $(filter-out 0,$(digits)) $(foreach t,$(filter-out 0,$(digits)),$(addprefix $(t),$(digits))) 100
# $(call check,NAME,WORDS,MESSAGE)
check = $(if $($(1)),$(if $(call among,$($(1)),$(2)),,$(error $(1)="$($(1))": $(3))))
$(call check,PROFILE,$(PROFILES),the profiles are $(PROFILES))
$(call check,DEVICE,cpu cuda,use cpu or cuda)
$(call check,SEEDS,$(to_100),use a whole number from 1 to 100 (how many seeds a setting))
$(call check,VENV,none,only VENV=none is known (use the interpreter at hand; install nothing))
ifneq ($(findstring :,$(CURDIR)),)
$(error the folder $(CURDIR) has a colon in its name, which Python takes for two folders: rename it)
endif

quote = '$(subst ','\'',$(1))'
option = $(if $(2),$(1) $(call quote,$(2)))
given = $(if $(call among,$(1),download),--download,--path $(call quote,$(1)))
SETTINGS = $(call option,--profile,$(PROFILE)) $(call option,--seeds,$(SEEDS)) $(call option,--device,$(DEVICE))

# ---- what runs: everything is told the make that started it, and ends with it ----

HELD := DIPVAE_PARENT=$$PPID exec
BOOTSTRAP = @$(HELD) $(call quote,$(or $(PYTHON),python3)) scripts/bootstrap.py --make-version $(MAKE_VERSION)
ifeq ($(VENV),none)
PY = $(call quote,$(or $(PYTHON),python3))
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(value PYTHONPATH))
SETUP = $(BOOTSTRAP) --check $(1)
else
PY = .venv/bin/python
export PYTHONPATH := $(CURDIR)
SETUP = $(BOOTSTRAP) $(if $(filter env,$(GOALS)),,--quiet)
endif
RUN = $(HELD) $(PY) -m replication.lifeline
# One thread a process: the same numbers on every machine. conftest.py says which file is first.
TEST = OMP_NUM_THREADS=1 $(RUN) pytest
PARALLEL = -n auto --dist loadfile --no-loadscope-reorder

help: # a screen of 24 lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-16s%s\n", $$1, $$2}' Makefile
	@echo "Names (make TARGET NAME=value ...):"
	@echo "  PROFILE=$(subst $(space),|,$(PROFILES))  (paper with CUDA, else quick)"
	@echo "  SEEDS=1..100  DEVICE=cpu|cuda  in place of the profile's, of the one found"
	@echo "  DSPRITES, CELEBA, CHAIRS=path|download  official data; DSPRITES_GIF=path"
	@echo "  PYTHON=path  VENV=none  the Python for .venv; use it as it is, install nothing"

env: ## set up .venv: Python, locked packages, torch (every target does)
	$(call SETUP,)

env-notebooks: # with VENV=none, papermill and its kind are asked for only where notebooks run
	$(call SETUP,notebooks)

env-lab:
	$(call SETUP,notebooks lab)

env-test:
	$(call SETUP,notebooks test)

data: env ## draw 2D Shapes, and faces and chairs unless real ones are given
	$(RUN) data_prep.shapes2d --out data
	$(if $(DSPRITES),$(RUN) data_prep.dsprites $(call given,$(DSPRITES)) --out data)
	$(if $(CELEBA),,test -e data/celeba.json ||) $(RUN) $(if $(CELEBA),data_prep.celeba $(call given,$(CELEBA)),data_prep.standins.faces) --out data
	$(if $(CHAIRS),,test -e data/chairs.json ||) $(RUN) $(if $(CHAIRS),data_prep.chairs $(call given,$(CHAIRS)),data_prep.standins.chairs) --out data

plan: env ## what `make replicate` would run here, and for how long
	$(RUN) replication.replicate --plan $(SETTINGS)

train: env-notebooks data ## data and training only
	$(RUN) replication.replicate --train-only $(SETTINGS)

replicate: env-notebooks data ## everything: data, training, scores, tables, figures
	$(RUN) replication.replicate $(SETTINGS) $(call option,--dsprites-gif,$(DSPRITES_GIF))

figures: env-notebooks ## tables and figures from the committed results, no training
	$(RUN) replication.replicate --figures $(call option,--profile,$(PROFILE))

test: env-test ## all tests, every notebook included; a process a core
	$(TEST) $(PARALLEL) --nbval tests notebooks

# These two are apart from `test`: one needs a browser, the other minutes.
test-browser: env-test ## the report in a browser (needs Chromium and Playwright)
	$(TEST) $(PARALLEL) tests/browser

test-kill: env-test ## kill `make replicate` at random moments, KILLS=12 times
	KILLS=$(call quote,$(or $(KILLS),12)) $(TEST) -s tests/kill/kills.py

lint: env-test ## formatting, ruff's rules, notebooks as clean as committed ones
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) scripts/clean_notebooks.py --check

sweep: env ## hand 2D Shapes runs to Ray (OUT=shared folder, ADDRESS=auto)
	$(RUN) data_prep.shapes2d --out data
	$(RUN) replication.engine.sweep $(SETTINGS) $(call option,--out,$(OUT)) $(call option,--address,$(ADDRESS))

bench: env data ## measure rendering, training and scoring on this machine
	$(RUN) scripts.bench

publish: env-notebooks ## copy a profile's complete runs to results/, to commit
	$(RUN) replication.publish $(call option,--profile,$(PROFILE))

readme: env-notebooks ## refresh README's tables from the result files
	$(RUN) scripts.readme

lab: env-lab ## JupyterLab on the notebooks, without its question about news
	JUPYTER_PREFER_ENV_PATH=1 JUPYTER_CONFIG_PATH="$$PWD/scripts/jupyter" $(RUN) jupyterlab \
	    $(if $(filter 0,$(shell id -u)),--allow-root) --ServerApp.root_dir=. notebooks/00_start_here.ipynb

notebooks-clean: env-notebooks ## undo what JupyterLab writes into notebooks unasked
	$(PY) scripts/clean_notebooks.py

clean: ## remove caches and half-written files, no data and no result
	find . \( -name .git -o -name .venv \) -prune -o \
	    \( -name __pycache__ -o -name .pytest_cache -o -name .ruff_cache -o -name .ipynb_checkpoints \
	    -o -name '*.egg-info' \) -prune -exec rm -rf {} + \
	    -o -type f \( -name '*.part' -o -name '*.failed.ipynb' \) -exec rm -f {} +

distclean: clean ## clean, and remove .venv too
	rm -rf .venv
