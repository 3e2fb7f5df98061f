# On a machine with Python 3.11 to 3.13 and make:
#   make demo        the whole system on this machine, from nothing to a trained model
#   make check       format, lint, types and the fast tests: within 90 seconds, without PyTorch
#   make test        the whole suite, one training with the real sleap-nn included: about 9 minutes with two cores
#   make build       a wheel and a source archive in dist/, and the wheel tried in an empty environment
#   make test-long   what takes long or changes networks: the fault matrix, the crowds, NATs, SLEAP's own window
# The tests through TURN servers and NATs are skipped without: apt-get install coturn nftables iproute2

PYTHON ?= python3
BIN := .venv/bin
# So many tests at a time: most of them wait for other programs.
TESTS ?= 6
PYTEST := $(BIN)/pytest -q --numprocesses $(TESTS) --maxschedchunk 1
# The tests start hundreds of programs, each of which would compile all its modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo check test test-long test-sleap-gui lint docs build install clean

demo: install
	$(BIN)/sleap-rtc demo

# The fast tests wait for nothing, so more of them at a time than there are processors would only take longer to start.
check: lint
	$(BIN)/pytest -q --numprocesses logical --maxschedchunk 1 -m "not slow and not long"

test: install
	@command -v turnserver >/dev/null || echo "coturn is not installed: no test through a TURN server runs."
	$(PYTEST)

test-long: install .venv-sleap/installed
	$(BIN)/pytest -q -m long tests/programs/test_crowd.py
	$(PYTEST) -m long --ignore tests/programs/test_crowd.py
	$(PYTEST) -m hypothesis --hypothesis-profile search

test-sleap-gui: install .venv-sleap/installed
	$(BIN)/pytest -q -m sleap_gui tests/client/test_sleap_gui.py

lint: .venv/base
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: .venv/base
	$(BIN)/python -m rtc.command_line.generated_docs docs

# The wheel is made of the source archive, so that a file that the archive lacks is missed here.
build: .venv/base
	rm -rf dist
	$(UV) build --quiet --python $(BIN)/python --out-dir dist
	UV_FIND_LINKS="$${UV_FIND_LINKS-$$PIP_FIND_LINKS}" $(BIN)/python .ci/try_build.py dist $(BIN)/uv

install: .venv/worker

# uv installs in seconds what pip takes minutes for; it does not read pip's own setting for local wheels, so it is told.
UV := UV_FIND_LINKS="$${UV_FIND_LINKS-$$PIP_FIND_LINKS}" $(BIN)/uv

.venv/base: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed, and $(PYTHON) is another: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) lacks its venv module; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Installing sleap-rtc and its development tools into .venv (once) ..."
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --editable '.[dev]'
	touch $@

.venv/worker: .venv/base
	@echo "Installing sleap-nn and PyTorch into .venv (a few GB, once) ..."
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --editable '.[dev,worker]'
	touch $@

.venv-sleap/installed: .venv/base
	@echo "Installing SLEAP into .venv-sleap (2 GB, once) ..."
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-sleap
	VIRTUAL_ENV=.venv-sleap $(UV) pip install --quiet sleap==1.6.6
	touch $@

clean:
	rm -rf .venv .venv-sleap .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
