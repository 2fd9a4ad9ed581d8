# make watch  a video of a game of the included agent
# make pong   train on Pong, or resume the training
# make board  TensorBoard of all runs in runs/
# make test   lint, types, tests
# make quick  lint, types, and the tests that need no TensorFlow: under a minute
# make mutants  which small changes of the files in pyproject.toml no test notices: about 20 minutes
# Each does all of its own set-up, in .venv.

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
RUN := .venv/bin/python
PIP := .venv/bin/pip install --quiet --disable-pip-version-check
PONG := runs/pong
# Many tests wait for processes that they start or stop, so one worker more than two cores.
WORKERS := -n 3 --dist=loadfile --no-loadscope-reorder

.PHONY: watch pong board test quick lint types check mutants clean

watch: .venv/installed
	$(RUN) run_atari.py --logdir=pretrained/pong --watch

pong: .venv/installed
	@if [ -f $(PONG)/params.json ]; then \
		$(RUN) run_atari.py --logdir=$(PONG) --resume; \
	else \
		$(RUN) run_atari.py --logdir=$(PONG) --pfile=example-pong-params.json; \
	fi

board: .venv/installed
	@$(RUN) run_atari.py --logdir=$(dir $(PONG)) --board

test: lint types check

quick: lint types
	$(RUN) -m pytest $(WORKERS) tests/light

lint: .venv/installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv/installed-dev
	.venv/bin/mypy

check: .venv/installed-dev
	$(RUN) -m pytest $(WORKERS)

mutants: .venv/installed-mutants
	rm -rf mutants
	$(RUN) -m mutmut run --max-children 2
	$(RUN) -m benchmarks.mutants

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.11 to 3.13 is needed; name it with: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(RUN) || $(PYTHON) -m venv .venv
	$(PIP) -r requirements.txt
	touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(PIP) -r requirements-dev.txt
	touch $@

.venv/installed-mutants: requirements-mutants.txt .venv/installed-dev
	$(PIP) -r requirements-mutants.txt
	touch $@

clean:
	rm -rf mutants .venv build *.egg-info
