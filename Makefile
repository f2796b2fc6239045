# Everything needs only Python 3.11, make and git: the first target sets up .venv by itself.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Celery 5.7 does not work with Airflow's provider yet. The last one is built, and needs libmariadb-dev and pkg-config.
CELERY := apache-airflow-providers-celery 'celery[redis]<5.7' psycopg2-binary asyncpg aiomysql mysqlclient
READY := $(VENV)/.ready

.PHONY: help demo test matrix smoke wheel soak real ui ui-test celery writers whole-index quota hard-days crash-sync clients contract-real audit bench bench-sync bench-emulator bench-xcom lint docs constraints clean

help: ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(READY): pyproject.toml constraints.txt
	@echo "setup: creating $(VENV) with $(PYTHON), installing Airflow and the tools (about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
	@echo "setup: done"

demo: $(READY) ## run an example DAG end to end on the local emulator
	@$(BIN)/python scripts/demo.py

test: $(READY) ## run the tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-fail-under=95

matrix: $(READY) ## run the tests on every Airflow and Python; ONLY=2.11 or 2.11-3.11 for some of them
	@$(BIN)/python scripts/matrix.py $(if $(ONLY),--only $(ONLY))

smoke: $(READY) ## run the shortest of them on the oldest Airflow
	@$(BIN)/python scripts/matrix.py --only 2.11-3.11 --smoke

wheel: $(READY) ## install the wheel on every supported Airflow, and run an example DAG with it
	@$(BIN)/python scripts/wheel.py

soak: $(READY) ## run the long property and fault tests
	@$(BIN)/python -m pytest -m soak --timeout 3600

real: $(READY) ## prove in a real Airflow (scheduler, triggerer, API server) what dag.test() cannot
	@$(BIN)/python -m pytest -m real tests/real

ui: $(READY) ## Airflow and the emulator for a browser of your own; Ctrl-C ends both
	@$(BIN)/python -m tests.ui.serve

ui-test: $(READY) ## the same in a headless Chromium: the form, a green load, a red one; PICTURES=folder
	@VECTORIZE_PICTURES=$(or $(PICTURES),.work/ui) $(BIN)/python -m pytest -m ui tests/ui

celery: $(READY) ## many workers: Celery with Redis and PostgreSQL, and MariaDB (15 minutes; Debian's servers)
	@$(BIN)/python -m uv --quiet venv --allow-existing --python $(BIN)/python .work/celery/venv
	@$(BIN)/python -m uv --quiet pip install --python .work/celery/venv/bin/python -c constraints.txt --editable '.[test]' \
		$(CELERY)
	@nice .work/celery/venv/bin/python -m tests.workers.run

writers: $(READY) ## load Parquet as Hugging Face datasets, Spark (needs Java 17) and dlt write it (3 minutes)
	@$(BIN)/python -m uv --quiet venv --allow-existing --python $(BIN)/python .work/writers/venv
	@$(BIN)/python -m uv --quiet pip install --python .work/writers/venv/bin/python -c constraints.txt --editable '.[test]' \
		datasets pyspark 'dlt[filesystem,parquet]'
	@.work/writers/venv/bin/python -m pytest -m writers tests/writers

whole-index: $(READY) ## delete 250,000 of 350,000 vectors, save and restore the rest, killed in between (10 minutes)
	@$(BIN)/python -m tests.whole_index.run

hard-days: $(READY) ## 30 minutes of disasters on a real Airflow; MINUTES=3 for a short form
	@$(BIN)/python -m tests.hard_days.run --minutes $(or $(MINUTES),30) $(if $(MINUTES),,--write)

crash-sync: $(READY) ## kill a task that syncs, 50 times at random moments; KILLS=5 for a short form
	@$(BIN)/python -m tests.sync.crash $(KILLS)

quota: $(READY) ## how long loads take at the API's quota, simulated: the tables of docs/sizing.md
	@$(BIN)/python scripts/simulate_quota.py

clients: $(READY) ## run official clients (wrangler, the SDKs, langchain) against the emulator
	@$(BIN)/python tests/clients/run.py
	@$(BIN)/python -m tests.clients.waits

contract-real: $(READY) ## compare the emulator with the real service; needs VECTORIZE_ACCOUNT_ID and VECTORIZE_API_TOKEN
	@$(BIN)/python -m tests.contract.congruence

bench: $(READY) ## how fast and small the ingest is, beside curl, wrangler and others (30 minutes)
	@$(BIN)/python benchmarks/ingest.py

bench-sync: $(READY) ## what a sync costs beside a full load, and what memory it takes (15 minutes)
	@$(BIN)/python benchmarks/sync.py

bench-emulator: $(READY) ## how fast the emulator starts, loads and answers
	@$(BIN)/python benchmarks/emulator.py

bench-xcom: $(READY) ## what handing vectors over by XCom costs
	@$(BIN)/python benchmarks/dags/xcom.py 2>/dev/null | grep ratio

lint: $(READY) ## ruff, mypy, and whether the constraints hold for every supported Python
	@$(BIN)/ruff check .
	@$(BIN)/ruff check --quiet --select AIR --preview airflow_provider_vectorize example_dags
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python scripts/constraints.py --check

audit: $(READY) ## known weaknesses of what constraints.txt names (asks api.osv.dev, which it must reach)
	@$(BIN)/python -m uv --quiet venv --allow-existing --python $(BIN)/python .work/audit/venv
	@$(BIN)/python -m uv --quiet pip install --python .work/audit/venv/bin/python pip-audit
	@.work/audit/venv/bin/pip-audit --vulnerability-service osv --no-deps --disable-pip --progress-spinner off \
		-r constraints.txt 2>.work/audit/errors && echo "audit: ok: no weakness is known" || \
		{ grep -q ConnectionError .work/audit/errors && echo "audit: not done: api.osv.dev cannot be reached" || \
		cat .work/audit/errors; exit 1; }

docs: $(READY) ## build the site into .work/docs
	@AIRFLOW_HOME=$(CURDIR)/.work/airflow $(BIN)/python -m sphinx -q -W --keep-going -b html docs .work/docs
	@$(BIN)/python scripts/public_names.py --documented .work/docs/objects.inv

constraints: $(READY) ## resolve constraints.txt anew, for every supported Python; UPGRADE=1 for newer versions
	@$(BIN)/python scripts/constraints.py $(if $(UPGRADE),--upgrade)

clean: ## remove what the targets made
	rm -rf $(VENV) .work build dist .coverage .hypothesis .mypy_cache .ruff_cache
