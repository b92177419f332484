# What can be done here: `make` lists it. Every target sets up what it needs first (local/setup, 0.1 s when all is there).
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# What the shell happens to hold must not lead to other packages, nor into an AWS account.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV AWS_PROFILE
export SAM_CLI_TELEMETRY := 0

ARGS ?=
# What shares a stack is one group, in one process.
PARALLEL := -n 2 --dist loadgroup
PYTHON := .venv/bin/python
UV := .local/bin/uv
DYNAMODB := .local/dynamodb-local
DYNAMODB_VERSION := 2.9.30
DYNAMODB_SHA256 := 3503ffac19f183407909fecdacf4db51ab1fdad1da7b2f177016670b2d80e4b9

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup:
	@local/setup

.PHONY: demo
demo: setup ## Deploy the stack on this machine, register, let expire, clean up, and say what happened
	@$(PYTHON) -m local.demo $(ARGS)

.PHONY: up
up: setup ## Start a stack on this machine that keeps running
	@$(PYTHON) -m local up $(ARGS)

.PHONY: down
down: setup ## End it; ARGS=--discard forgets what was in it
	@$(PYTHON) -m local down $(ARGS)

.PHONY: replay
replay: setup ## Try the webhook deliveries anew that were given up; ARGS="--stack NAME" on AWS
	@$(PYTHON) -m local.replay $(ARGS)

.PHONY: test
test: setup ## All tests that need neither Docker nor Java nor root; ARGS go to pytest
ifeq ($(ARGS),)
	@.venv/bin/pytest $(PARALLEL)
else
	@.venv/bin/pytest $(ARGS)
endif

.PHONY: test-real
test-real: setup local-dynamodb ## The tests of real targets and the proofs, none skipped: needs root, Docker, Java 17, node, sshd, busybox, QEMU and the Kubernetes control plane
	@REQUIRE_REAL=1 TRACKER_RANDOM_STEPS=2400 .venv/bin/pytest -m real $(ARGS)

.PHONY: test-long
test-long: setup ## The proofs in full: every crash point, 10,000 random steps; a quarter of an hour
	@TRACKER_CRASH_POINTS=all TRACKER_RANDOM_STEPS=10000 .venv/bin/pytest tests/proof -rP $(ARGS)

.PHONY: matrix
matrix: setup ## Deployment types x faults, from the conformance suite's own results; also in .local/matrix.json
	@.venv/bin/pytest tests/conformance -m "not real" --quiet $(PARALLEL) --matrix .local/matrix.json $(ARGS)

.PHONY: compare
compare: setup
	@$(PYTHON) -m tests.conformance.matrix .local/matrix.json .local/matrix-real.json

.PHONY: types
types: setup ## Every deployment type through the API of a stack: registered, terminated, proven gone
	@.venv/bin/pytest tests/stack/test_every_type.py -m "not real" --quiet $(ARGS)

.PHONY: check
check: check-format check-lint check-types check-layers check-template check-lock check-docs ## All checks; make -k goes on after a failed one

.PHONY: check-format check-lint check-types check-layers check-template check-lock check-docs
check-format: setup
	.venv/bin/ruff format --check --quiet
check-lint: setup
	.venv/bin/ruff check --quiet
check-types: setup
	.venv/bin/mypy
check-layers: setup
	.venv/bin/lint-imports --no-logo
check-template: setup
	AWS_DEFAULT_REGION=us-east-1 .local/sam/bin/sam validate --lint
check-lock: setup
	$(UV) lock --check --offline --quiet
	UV=$(UV) local/requirements.sh --check
check-docs: setup
	$(PYTHON) -m docs.deployment_types --check

.PHONY: fmt
fmt: setup ## Format, and mend what the linter can mend by itself
	.venv/bin/ruff check --fix --quiet || true
	.venv/bin/ruff format

.PHONY: docs
docs: setup ## Write docs/deployment-types.md from the code
	@$(PYTHON) -m docs.deployment_types

.PHONY: bench
bench: setup ## Measure a stack on this machine
	@$(PYTHON) -m bench $(ARGS)

.PHONY: lock
# From the public index alone, whatever mirror this machine uses.
lock: setup ## Lock the newest packages that pyproject.toml allows, and what sam build installs of them
	env -u UV_INDEX -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL $(UV) lock --python $(PYTHON) --upgrade
	local/setup
	UV=$(UV) local/requirements.sh

.PHONY: local-dynamodb
local-dynamodb: $(DYNAMODB)/DynamoDBLocal.jar ## Fetch DynamoDB Local for the tests of the store: needs npm, and Java 17 to run it

$(DYNAMODB)/DynamoDBLocal.jar:
	@command -v npm >/dev/null || { echo "DynamoDB Local comes from npm: install node and npm" >&2; exit 1; }
	@command -v java >/dev/null || { echo "DynamoDB Local runs on Java 17: install a JRE" >&2; exit 1; }
	@echo "fetching DynamoDB Local (56 MB) into $(DYNAMODB)"
	@rm -rf $(DYNAMODB) $(DYNAMODB).part && mkdir -p $(DYNAMODB).part
	@cd $(DYNAMODB).part && npm pack --silent amplify-dynamodb-simulator@$(DYNAMODB_VERSION) >/dev/null
	@cd $(DYNAMODB).part && echo "$(DYNAMODB_SHA256)  amplify-dynamodb-simulator-$(DYNAMODB_VERSION).tgz" | sha256sum --check --quiet
	@cd $(DYNAMODB).part && tar xzf *.tgz --strip-components=2 package/emulator && rm *.tgz
	@mv $(DYNAMODB).part $(DYNAMODB)
