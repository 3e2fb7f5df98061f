# Two commands do everything, on a machine with Python 3.11 to 3.13 and make:
#   make demo   the whole system on this machine, from nothing to a trained model
#   make test   the whole suite, one training with the real sleap-nn included

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-sleap-gui lint docs install clean

demo: install
	$(BIN)/sleap-rtc demo

test: install
	$(BIN)/pytest -q

# SLEAP itself, for its own LossViewer, in an environment beside ours (2 GB, once).
test-sleap-gui: install .venv-sleap/installed
	SLEAP_RTC_TEST_SLEAP=.venv-sleap/bin/python $(BIN)/pytest -q -m sleap_gui tests/client/test_sleap_gui.py

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: install
	$(BIN)/python -m rtc.command_line.generated_docs docs

install: .venv/installed

# uv installs in seconds what pip takes minutes for; it does not read pip's own setting for local wheels, so it is told.
.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed, and $(PYTHON) is another: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) lacks its venv module; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Installing sleap-rtc with sleap-nn and PyTorch into .venv (a few GB, once) ..."
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	UV_FIND_LINKS="$${UV_FIND_LINKS-$$PIP_FIND_LINKS}" VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --editable '.[dev,worker]'
	touch $@

.venv-sleap/installed:
	@echo "Installing SLEAP into .venv-sleap (2 GB, once) ..."
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-sleap
	UV_FIND_LINKS="$${UV_FIND_LINKS-$$PIP_FIND_LINKS}" VIRTUAL_ENV=.venv-sleap $(BIN)/uv pip install --quiet sleap==1.6.6
	touch $@

clean:
	rm -rf .venv .venv-sleap .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
