# Two commands do everything: `make demo` and `make test`. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUT := outputs

.DEFAULT_GOAL := help
.PHONY: help env demo test check browser lab bench notebooks lint clean
# a process a core, whole files to each, so that fixtures and notebooks stay together
PARALLEL := -n auto --maxprocesses 4 --dist loadfile

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(READY) ## make the environment (.venv), with the versions of constraints.txt

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make demo PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); \
		echo "No environment could be made. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt "$$(grep '^torch==' constraints.txt)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable ".[test]"
	@touch $@

demo: $(READY) ## run all notebooks on the embedded data; 10 to 30 minutes on two cores
	@$(BIN)/python -m predrecon demo --preset demo --out $(OUT)

test: $(READY) ## all tests, notebooks included; 10 to 30 minutes on two cores
	@$(BIN)/python -m pytest --nbval $(PARALLEL)

check: $(READY) ## the quick tests, for while you edit; about a minute
	@$(BIN)/python -m pytest -p no:nbval -o addopts="-q -rs" -m "not slow and not browser" $(PARALLEL) tests

browser: $(READY) ## the tests that drive JupyterLab; needs a Chromium (Debian: apt install chromium)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt playwright axe-playwright-python
	@$(BIN)/python -m pytest -p no:nbval -o addopts=-q -rs -s tests/test_browser.py

lab: $(READY) ## open JupyterLab on a page that says what each notebook answers
	@$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks/START.ipynb

bench: $(READY) ## tokens/s, roofline, geometry, time to quality, beside others' code; 45 minutes
	@$(BIN)/python benchmarks/bench.py

notebooks: $(READY) ## renew notebooks/*.ipynb, with outputs, from notebooks/*.py
	@$(BIN)/jupytext --quiet --to notebook --update notebooks/0*.py notebooks/START.py
	@$(MAKE) --no-print-directory demo
	@$(BIN)/python -m predrecon pair --out $(OUT)

lint: $(READY) ## ruff over module, tests and notebooks
	@$(BIN)/ruff check predrecon tests benchmarks notebooks conftest.py && $(BIN)/ruff format --check predrecon tests benchmarks conftest.py notebooks/*.py

clean: ## remove the environment and what demo wrote; runs/ and the corpus cache stay
	@rm -rf figures/demo-docstrings figures/data/demo-docstrings figures/plotly.min.js figures/index.html
	@rm -rf $(VENV) $(OUT) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Kept: runs/ (trained models) and the corpus cache (~/.cache/predrecon)."
