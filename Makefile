# What can be done here: `make` lists it. Every target sets up what it needs first (local/setup, 0.1 s when all is there).
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# What the shell happens to hold must not lead to other packages, nor into an AWS account.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV AWS_PROFILE
# Where it is set, as in many images, every process compiles anew all that it imports: collecting the tests takes twice as long then.
unexport PYTHONDONTWRITEBYTECODE
# But whoever names a stack on AWS means the account that their shell is signed in to.
SIGNED_IN = $(if $(and $(AWS_PROFILE),$(findstring --stack,$(ARGS))),AWS_PROFILE='$(AWS_PROFILE)')
export SAM_CLI_TELEMETRY := 0

ARGS ?=
# What shares a stack is one group, in one process.
PARALLEL := -n 2 --dist loadgroup
# They have targets of their own: make matrix, make answers, make packages, make types, make test-page.
ANSWERS := tests/cleanup/test_documented_answers.py tests/cleanup/test_awkward_answers.py
APART := tests/conformance $(ANSWERS) tests/build tests/stack/test_every_type.py tests/ui/browser
PYTHON := .venv/bin/python
UV := .local/bin/uv
# What finds faults of accessibility, for the tests of the page.
AXE := .local/axe-core
AXE_VERSION := 4.14.1
AXE_SHA256 := e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
DYNAMODB := .local/dynamodb-local
DYNAMODB_VERSION := 2.9.30
DYNAMODB_SHA256 := 3503ffac19f183407909fecdacf4db51ab1fdad1da7b2f177016670b2d80e4b9
# cfn-guard itself, with AWS Control Tower's rules.
GUARD := .local/cfn-guard
GUARD_VERSION := 0.0.62
GUARD_SHA256 := 660c14562d4c79d524d0623d80d494e41797acae9da23ecb10915d7f66ada80c

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
up: setup ## Start a stack on this machine that keeps running, or update it; ARGS="--parameter RetryDays=0" sets parameters, --port PORT chooses it
	@$(PYTHON) -m local up $(ARGS)

.PHONY: down
down: setup ## End the stack of this folder; ARGS=--discard forgets what was in it
	@$(PYTHON) -m local down $(ARGS)

.PHONY: replay
replay: setup ## Try anew what was given up: webhook deliveries, announcements, events; ARGS="--stack NAME" on AWS
	@$(SIGNED_IN) $(PYTHON) -m local.replay $(ARGS)

.PHONY: restore
restore: setup ## Put lost deployments back from a table that was restored to a point in time: ARGS="--stack NAME --from TABLE", and --write
	@$(SIGNED_IN) $(PYTHON) -m local.restore $(ARGS)

.PHONY: options
options: setup ## Put options of deploy/options into what `sam build` built, before `sam deploy`: ARGS="canary private-api"
	@$(PYTHON) -m local.options $(ARGS)

.PHONY: test
test: setup ## All tests that need neither Docker nor Java nor root, but for those of matrix, answers, packages and types; ARGS go to pytest
ifeq ($(ARGS),)
	@.venv/bin/pytest $(PARALLEL) $(APART:%=--ignore %)
else
	@.venv/bin/pytest $(ARGS)
endif

.PHONY: test-real
test-real: setup local-dynamodb aws-cli ## The tests of real targets and the proofs, none skipped: needs root, Docker, Java 17, node, sshd, busybox, QEMU and the Kubernetes control plane
	@REQUIRE_REAL=1 TRACKER_CRASH_POINTS=others TRACKER_RANDOM_STEPS=800 .venv/bin/pytest -m real $(PARALLEL) $(ARGS)

.PHONY: test-long
test-long: setup ## The proofs in full: every crash point, 10,000 random steps; a quarter of an hour
	@TRACKER_CRASH_POINTS=all TRACKER_RANDOM_STEPS=10000 .venv/bin/pytest tests/proof -rP $(ARGS)

.PHONY: mutants
mutants: setup ## Break the tracker in a hundred places, one at a time: the tests must notice each; ARGS chooses by words
	@$(PYTHON) -m tests.mutations $(ARGS)

.PHONY: matrix
matrix: setup ## Deployment types x faults, from the conformance suite's own results; also in .local/matrix.json
	@.venv/bin/pytest tests/conformance -m "not real" --quiet $(PARALLEL) --matrix=.local/matrix.json $(ARGS)

.PHONY: answers
answers: setup ## Every type with a REST API x awkward answers, those that its document allows and those that none has
	@.venv/bin/pytest $(ANSWERS) --quiet $(PARALLEL) $(ARGS)

.PHONY: compare
compare: setup
	@$(PYTHON) -m tests.conformance.matrix .local/matrix.json .local/matrix-real.json

.PHONY: packages
packages: setup ## What `sam build` makes: complete, small enough, and importing no more than it needs
	@.venv/bin/pytest tests/build --quiet $(PARALLEL) $(ARGS)

.PHONY: types
types: setup ## Every deployment type through the API of a stack: registered, terminated, proven gone
	@.venv/bin/pytest tests/stack/test_every_type.py -m "not real" --quiet $(ARGS)

.PHONY: fuzz
fuzz: setup ## Send 5,000 made-up calls to a stack of its own: no 5xx, and no answer that docs/openapi.json doesn't have
	@UV_PROJECT_ENVIRONMENT=.local/schemathesis $(UV) sync --quiet --frozen --python $(PYTHON) --only-group fuzz
	@$(PYTHON) -m local.fuzz $(ARGS)

.PHONY: test-page
test-page: setup page-tools ## The page of `tracker ui` in Chromium, none of its tests skipped: needs chromium and npm
	@REQUIRE_REAL=1 .venv/bin/pytest tests/ui --quiet $(ARGS)

.PHONY: screenshots
screenshots: setup page-tools ## Take the pictures of docs/page.md anew: needs chromium
	@$(PYTHON) -m tests.ui.pictures

.PHONY: page-tools
page-tools: $(AXE)/axe.min.js
	@$(UV) sync --quiet --frozen --inexact --group page --python $(PYTHON)

$(AXE)/axe.min.js:
	@local/npm axe-core@$(AXE_VERSION) $(AXE_SHA256) $(AXE) package/axe.min.js package/LICENSE

.PHONY: check
check: check-format check-lint check-types check-layers check-template check-lock check-docs ## All checks; make -k goes on after a failed one

.PHONY: check-format check-lint check-types check-layers check-template check-lock check-docs
check-format: setup
	.venv/bin/ruff format --check --quiet --no-cache
check-lint: setup
	.venv/bin/ruff check --quiet --no-cache
check-types: setup
	.venv/bin/mypy
check-layers: setup
	.venv/bin/lint-imports --no-logo --no-cache
check-template: setup
	AWS_DEFAULT_REGION=us-east-1 .local/sam/bin/sam validate --lint
	.venv/bin/cfn-lint --regions us-east-1 -- $(filter-out %.rbac.yaml,$(wildcard deploy/*.yaml))
check-lock: setup
	$(UV) lock --check --offline --quiet
	UV=$(UV) local/requirements.sh --check
check-docs: setup
	$(PYTHON) -m docs --check

.PHONY: fmt
fmt: setup ## Format, and mend what the linter can mend by itself
	.venv/bin/ruff check --fix --quiet || true
	.venv/bin/ruff format

.PHONY: docs
docs: setup ## Write what follows from the code into README.md and docs/
	@$(PYTHON) -m docs

.PHONY: bench
bench: setup ## Measure a stack on this machine; ARGS="store" names parts
	@$(PYTHON) -m bench $(ARGS)

.PHONY: lock
# From the public index alone, whatever mirror this machine uses.
lock: setup ## Lock the newest packages that pyproject.toml allows, and what sam build installs of them
	env -u UV_INDEX -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL $(UV) lock --python $(PYTHON) --upgrade
	local/setup
	UV=$(UV) local/requirements.sh

.PHONY: audit
audit: audit-templates audit-packages ## What checkov and cfn-guard find about the templates, against the answers in tests/audit/findings.toml; then known vulnerabilities of the locked packages: needs the network and npm

.PHONY: audit-templates audit-packages
audit-templates: setup $(GUARD)/bin
	@$(PYTHON) -m tests.audit

$(GUARD)/bin:
	@local/npm @cdklabs/cdk-validator-cfnguard@$(GUARD_VERSION) $(GUARD_SHA256) $(GUARD) package/bin/ubuntu package/rules package/LICENSE

audit-packages: setup
	@$(UV) export --quiet --frozen --no-emit-project --no-default-groups --group release >.local/locked.txt
	@answer="$$(curl --silent --output /dev/null --max-time 10 --write-out '%{http_code}' https://api.osv.dev/v1/vulns/OSV-2020-111 || true)"; \
	if [ "$$answer" = 000 ]; then echo "the packages were NOT compared: the database of vulnerabilities (api.osv.dev) can't be reached from here" >&2; exit 1; fi
	@$(UV) tool run --quiet --from pip-audit==2.10.1 pip-audit --requirement .local/locked.txt --require-hashes --disable-pip --vulnerability-service osv

.PHONY: sbom
sbom: setup ## What is deployed, as a software bill of materials from the lock: .local/sbom.json (CycloneDX 1.5)
	@$(UV) export --quiet --frozen --format cyclonedx1.5 --no-default-groups --group release >.local/sbom.json
	@echo "$$(grep -c '"purl"' .local/sbom.json) packages in .local/sbom.json"

.PHONY: evidence
evidence: setup ## Write docs/evidence.md from what the last full run left (.ci/run, make matrix, make bench)
	@$(PYTHON) -m docs.evidence

.PHONY: aws-cli
aws-cli: setup ## Make an environment with the AWS CLI, by which tests run the commands of the pages
	@UV_PROJECT_ENVIRONMENT=.local/aws-cli $(UV) sync --quiet --frozen --python $(PYTHON) --only-group aws-cli

.PHONY: local-dynamodb
local-dynamodb: $(DYNAMODB)/DynamoDBLocal.jar ## Fetch DynamoDB Local, which the tests of the store then use instead of moto: needs npm, and Java 17 to run it

$(DYNAMODB)/DynamoDBLocal.jar:
	@command -v java >/dev/null || { echo "DynamoDB Local runs on Java 17: install a JRE" >&2; exit 1; }
	@local/npm amplify-dynamodb-simulator@$(DYNAMODB_VERSION) $(DYNAMODB_SHA256) $(DYNAMODB) package/emulator
