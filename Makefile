# Every target is one line of what it does; `make help` prints them. Python 3.11 or newer and make are all that is needed.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help serve test check format conformance clients faults image image-test pairs rgw soak benchmark clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20
	@echo "  With another Python: make serve PYTHON=python3.12"

serve: .venv/serve ## run the registry on 127.0.0.1:5000 with its data in ./data (settings: ENTREPOT_*)
	@exec $(BIN)/entrepot serve

test: .venv/dev ## units, protocol tables, properties, races and kill points: no root, ten minutes on two cores
	$(BIN)/pytest -n auto --dist worksteal

check: .venv/dev ## the gate of style, types, imports and shape
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -q tests/test_shape.py tests/test_docs.py tests/test_spec.py

format: .venv/dev ## let ruff format the code and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

conformance: .venv/dev ## the official OCI conformance suite, on every pair of a database and a store (needs Go)
	$(BIN)/python -m conformance.run $(CONFORMANCE)

clients: .venv/dev ## real clients of two generations (needs root on Debian 12 and .ci/install)
	tests/clients/run

faults: .venv/dev ## power loss, full disks, memory, start-up work, Debian's PostgreSQL (needs root on Debian 12)
	$(BIN)/pytest -q tests/faults
	.ci/with-postgresql $(BIN)/pytest -q tests/metadata

image-test: .venv/dev ## build the image on a base of its own, run it read-only, push to it (needs root on Debian 12)
	tests/image/run

image: ## build the container image (needs a container builder)
	docker build --build-arg REVISION=$$(git rev-parse HEAD) -t entrepot .

pairs: .venv/dev ## every test on PostgreSQL and on S3: the three pairs besides SQLite and files
	TEST_DATABASE=sqlite TEST_STORE=s3 $(BIN)/pytest -n auto --dist worksteal
	TEST_DATABASE=postgresql TEST_STORE=files $(BIN)/pytest -n auto --dist worksteal
	TEST_DATABASE=postgresql TEST_STORE=s3 $(BIN)/pytest -n auto --dist worksteal

rgw: .venv/dev ## what has to do with S3, on a Ceph RGW, which is as strict as AWS (needs root on Debian 12 and Go)
	.ci/with-rgw sh -c 'ENTREPOT_STORAGE=s3://$$TEST_S3_BUCKET/doctor ENTREPOT_S3_ENDPOINT=$$TEST_S3_ENDPOINT $(BIN)/entrepot doctor'
	.ci/with-rgw $(BIN)/pytest -n auto --dist worksteal tests/storage tests/api/test_redirects.py tests/cli/test_doctor.py tests/cli/test_shared.py
	TEST_STORE=s3 .ci/with-rgw $(BIN)/pytest -n auto --dist worksteal tests/api tests/outside tests/scenarios tests/moving tests/garbage
	.ci/with-rgw $(BIN)/python -m conformance.run dev-sparse-sqlite+s3 dev-login-postgresql+s3 dev-login-postgresql+s3-redirects

soak: .venv/dev pairs ## all of `pairs` and `rgw`, fifty minutes of loads with kills, lost content sought (needs root on Debian 12)
	$(BIN)/python -m tests.soak.run --minutes 10
	TEST_DATABASE=postgresql TEST_STORE=s3 $(BIN)/python -m tests.soak.run --minutes 5
	TEST_DATABASE=postgresql TEST_STORE=s3 $(BIN)/python -m tests.soak.run --minutes 10 --replicas 3
	$(BIN)/python -m tests.clients.soak --minutes 10
	$(BIN)/pytest -q tests/soak
	GARBAGE_EXAMPLES=1500 $(BIN)/pytest -q tests/garbage/test_machine.py
	$(MAKE) rgw

benchmark: .venv/dev ## us beside other servers; what access control, policies, PostgreSQL and S3 cost (needs root, Go, .ci/install peers)
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks.auth_cost
	$(BIN)/python -m benchmarks.lifecycle_cost
	$(BIN)/python -m benchmarks.stores

clean: ## remove the virtual environment and caches, never data
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .import_linter_cache

.venv/serve: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Entrepot needs Python 3.11 or newer, and" \
	  "$(PYTHON) is not: name one with make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || $(PYTHON) -m venv --clear .venv
	@echo "Installing Entrepot into .venv (once) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/dev: .venv/serve
	@echo "Installing the tools for its development into .venv (once) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
