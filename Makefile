# The course's commands: `make help` lists them. Kept to GNU make 3.81, which macOS ships.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
RUN := $(VENV)/bin/python
BEAM := .venv-beam
# What an environment is judged by: its lock without the comments.
PINS = sed 's/ *\#.*//' $(LOCK)

# A Python that the lock is made for, with what it takes to make a virtual environment.
SUITABLE := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
CANDIDATES := $(if $(PYTHON),"$(PYTHON)",python3.12 python3.11 python3.13 python3 python)
FIND_PYTHON = for python in $(CANDIDATES); do \
	if "$$python" -c "$(SUITABLE)" >/dev/null 2>&1; then found="$$python"; break; fi; done

COURSE_OPTIONS = \
	$(if $(PROFILE),--profile "$(PROFILE)") \
	$(if $(DATASET),--dataset "$(DATASET)") \
	$(if $(WORKSPACE),--workspace "$(WORKSPACE)") \
	$(if $(FROM),--from "$(FROM)") \
	$(if $(ONLY),--only "$(ONLY)") \
	$(if $(SPLIT),--split "$(SPLIT)")

.PHONY: help course lab test torture doctor setup beam mirror lessons detector lock clean

help:
	@echo "make course     run every lesson: runs/course/report.html is the result"
	@echo "                PROFILE=smoke|cpu|gpu  DATASET=roadside|speedtraps|a folder  SPLIT=clip|frame|author"
	@echo "                WORKSPACE=runs/mine  FROM=03  ONLY=06  (interrupted, it resumes)"
	@echo "make lab        open the lessons in JupyterLab"
	@echo "make test       lint, unit tests, every lesson in the smoke profile"
	@echo "make torture    MINUTES=30 of broken files for every reader"
	@echo "make doctor     what is wrong with this machine's set-up, and the fix"
	@echo "make setup      install everything into .venv (the targets above do it when needed)"
	@echo "                PYTHON=python3.12 chooses the Python (3.11, 3.12 or 3.13)"
	@echo "make beam       install Apache Beam into .venv-beam, to write records on many machines"
	@echo "make mirror     the public datasets, about 640 MB, for a classroom without internet"
	@echo "                MIRROR=/media/stick; then COURSE_MIRROR=/media/stick make course"
	@echo "make lessons    save the executed lessons into notebooks/ (for authors)"
	@echo "make detector   train the small detector that lesson 00 ships with (for authors)"
	@echo "make lock       resolve requirements*.in into the locks, requirements*.txt (for authors, needs uv)"
	@echo "make clean      delete .venv, .venv-beam and caches; your runs/ stay"

course: setup
	@$(RUN) -m helpers.course run $(COURSE_OPTIONS)

# Its terminals know the environment's commands, such as papermill: PATH holds them, and a login
# shell, which JupyterLab may start, would set PATH anew. Root, as in a container, is let in. What
# language servers are missing is not said: the address to open stays the last line. Saved
# lessons hold no dead widgets.
lab: setup
	@if [ "$$(id -u)" = 0 ]; then root=--allow-root; fi; \
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" exec $(RUN) -m jupyterlab $$root --ServerApp.root_dir=. \
		--ServerApp.terminado_settings="shell_command=['$${SHELL:-sh}']" \
		--LanguageServerManager.autodetect=False \
		--FileContentsManager.pre_save_hook=helpers.course.saving.without_widgets \
		--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb

test: setup
	$(RUN) -m ruff check helpers tests notebooks
	$(RUN) -m ruff format --check helpers tests notebooks
	$(RUN) -m mypy
	$(RUN) -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder --durations 10 --timeout 900

# Other files each time: what it finds becomes a test.
torture: setup
	COURSE_TORTURE="$(or $(MINUTES),30)" $(RUN) -m pytest tests/faults/test_fuzz.py -q -s

# Works without set-up, because it is there to say why set-up fails.
doctor:
	@if $(RUN) -c "" 2>/dev/null; then $(RUN) -m helpers.doctor; \
	else $(FIND_PYTHON); "$${found:-$(or $(PYTHON),python3)}" -m helpers.doctor; fi

# An environment of its own: Beam and TensorFlow want different versions of the same packages.
beam: ENVIRONMENT := $(BEAM)
beam: LOCK := requirements-beam.txt
beam: COST := about 120 MB to download, 0.5 GB on disk, a minute or two.
beam: CHECK := :
ENVIRONMENT := $(VENV)
LOCK := requirements.txt
COST := about 1.1 GB to download, 3.9 GB on disk, 3 to 15 minutes.
CHECK = "$$found" -m helpers.doctor --before-setup

# Made again whenever it is not whole or the lock changed: an interrupted installation cannot
# be told from a finished one in any other way. pip's cache keeps what was downloaded.
setup beam:
	@if $(ENVIRONMENT)/bin/python -c "" 2>/dev/null && $(PINS) | cmp -s - $(ENVIRONMENT)/ready \
		$(if $(PYTHON),&& [ "$$($(ENVIRONMENT)/bin/python --version)" = "$$("$(PYTHON)" --version 2>&1)" ]); then exit 0; fi; \
	set -e; $(FIND_PYTHON); \
	if [ -z "$$found" ]; then \
		echo "No Python 3.11, 3.12 or 3.13 with the venv module $(if $(PYTHON),at $(PYTHON),on PATH); install one" \
			"(macOS: brew install python@3.12; Debian, Ubuntu: sudo apt install python3-venv)" \
			"or name it: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi; \
	$(CHECK); \
	echo "Setting up $(ENVIRONMENT) with $$("$$found" --version): $(COST)"; \
	echo "Once only; interrupted, say the same command again."; \
	"$$found" -m venv --clear $(ENVIRONMENT); \
	if [ ! -t 1 ]; then quiet=--quiet; fi; \
	$(ENVIRONMENT)/bin/python -m pip install $$quiet --disable-pip-version-check -r $(LOCK); \
	$(ENVIRONMENT)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .; \
	$(PINS) > $(ENVIRONMENT)/ready; \
	echo "Set up. Take it away with: make clean"

# What is there and whole is left as it is; interrupted, it resumes.
mirror: setup
	@$(RUN) -m helpers.footage mirror "$(MIRROR)"

lessons: setup
	@$(RUN) -m helpers.course publish

detector: setup
	@$(RUN) -m helpers.course detector

# `fewest`: one version of each package for every Python, so that all give the same numbers.
RESOLVE = uv pip compile --universal --python-version 3.11 --fork-strategy fewest \
	--annotation-style line --quiet --output-file

lock:
	$(RESOLVE) requirements.txt requirements.in
	$(RESOLVE) requirements-beam.txt requirements-beam.in

clean:
	rm -rf $(VENV) $(BEAM) build .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
