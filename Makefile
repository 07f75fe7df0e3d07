# Two commands for everybody: `make lab` and `make test`.  As root, on a fresh Debian 12 or 13.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

# Debian's own, whatever else comes first in PATH: what is rehearsed is what gets installed.
PYTHON ?= /usr/bin/python3
export PYTHON

PACKAGES := bird2 ca-certificates haproxy iproute2 nftables procps python3 python3-venv
# More for the tests: other routers, browsers and shells, and the linters of what is not Python.
TEST_PACKAGES := ansible-core ansible-lint chromium curl frr gobgpd man-db mandoc openssl prometheus yamllint zsh
# What builds the Debian packages, judges them, and makes the systems on which they are tried.
DEB_PACKAGES := apparmor debhelper debootstrap dh-apparmor dh-python dpkg-dev lintian pybuild-plugin-pyproject \
    python3-all python3-h11 python3-jsonschema python3-prometheus-client python3-setuptools python3-six python3-tenacity python3-yaml
# The releases on which they are tried; `make test` takes the machine's own.
SUITES ?= bookworm trixie
VENV := .venv
# The oldest libraries that we work with: Debian's ExaBGP 4.2, and the floors of pyproject.toml.
OLDEST := .venv-exabgp4
# The newest of everything, as of today: for `make newest` alone.
NEWEST := .venv-newest
# What anycastd needs to run, and the tools that describe and judge that: for `make sbom` and `make audit` alone.
RUNTIME := .venv-runtime
TOOLS := .venv-tools
# What builds the documentation site.
DOCS := .venv-docs
# Those that `make compare` compares, as far as they are no Debian packages.
OTHERS := .venv-compare
COMPARE_PACKAGES := curl keepalived
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# Most tests wait for processes and timers most of the time, so some files run side by side.
JOBS ?= 3
BESIDE = --numprocesses $(JOBS) --dist loadfile
# What speaks to ExaBGP is tested with each of these.
export ANYCASTD_EXABGP_PYTHONS ?= $(CURDIR)/$(BIN)/python:$(CURDIR)/$(OLDEST)/bin/python

.PHONY: help lab test lint lint-only docs test-packages unit system search end-to-end deb package-test installed bench compare chaos soak \
    fuzz sbom audit format pages packages venv oldest newest tools update namespaces clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

lab: packages venv namespaces ## Set everything up and rehearse a failover between two regions
	$(BIN)/python -m anycastd lab $(LAB)

test: test-packages venv oldest namespaces lint docs unit system end-to-end installed ## Set everything up, run every check and test

lint: venv lint-only ## The quick checks: ruff and mypy

lint-only:
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy

docs: packages ## Build the documentation as a site, into build/site, and check its links
	@scripts/venv.sh $(DOCS) requirements/docs.txt --alone
	$(DOCS)/bin/mkdocs build --strict --quiet
	$(DOCS)/bin/python scripts/check_site.py build/site

unit: test-packages venv oldest ## The quick tests: the house's rules, and single parts (about three minutes)
	$(PYTEST) $(BESIDE) tests/house tests/unit

system: test-packages venv oldest ## Whole appliances and the short search, then the parts with the oldest libraries
	$(PYTEST) $(BESIDE) -m 'not alone' tests/search tests/system tests/field tests/fuzz
	$(PYTEST) -m alone tests/system
	$(OLDEST)/bin/python -m pytest $(BESIDE) tests/unit tests/search -m 'not root' -k 'not exabgp-'

search: venv ## Search longer for a broken promise of the decisions or the lease (some minutes)
	ANYCASTD_SEARCH=1 $(PYTEST) -o faulthandler_timeout=0 tests/search

end-to-end: test-packages venv oldest namespaces ## The tests on the rehearsal network
	$(PYTEST) $(BESIDE) tests/lab

deb: venv ## Build the Debian packages, into dist/
	@scripts/packages.sh $(DEB_PACKAGES)
	rm -rf dist
	packaging/build.sh dist

# The systems to boot are made first, and kept; that may take a while, the tests have a time limit.
BOOTED = for suite in $(SUITES); do \
    tests/package/base.sh "$$suite" "build/package-test/$$suite" dist/*.deb || exit 1; done

package-test: packages venv namespaces deb ## Boot Debian 12 and 13, install the packages, break things
	@$(BOOTED)
	ANYCASTD_PACKAGE_SUITES="$(SUITES)" $(PYTEST) tests/package

# The same on this machine's own release alone, for `make test`: a machine that cannot boot a system
# inside itself (no cgroup2) is told so, and has all other tests.
installed: SUITES = $(shell . /etc/os-release && echo $$VERSION_CODENAME)
installed: test-packages venv namespaces deb
	@if tests/package/boot.sh probe anycastd-probe-$$$$; then \
	    $(BOOTED) && \
	    ANYCASTD_PACKAGE_SUITES="$(SUITES)" $(PYTEST) tests/package; \
	else \
	    $(PYTEST) tests/package/test_build.py && \
	    echo "NOT TRIED: the packages were built, but this machine cannot boot a system to try them on" >&2; \
	fi

bench: packages venv namespaces ## Measure, and print the tables, 25 minutes (BENCH='--only NAME')
	@scripts/packages.sh $(DEB_PACKAGES)
	$(BIN)/python tests/bench/run.py $(BENCH)

compare: packages venv namespaces ## Compare with others on one network, an hour (COMPARE=--write: into docs/)
	@scripts/packages.sh $(COMPARE_PACKAGES)
	@scripts/venv.sh $(OTHERS) requirements/compare.txt --built || \
	    echo "anycast-healthchecker is left out of the comparison" >&2
	$(BIN)/python tests/compare/run.py $(COMPARE)

CHAOS ?= 320
# EXABGP=4 breaks Debian's ExaBGP instead of the newest one.
RIG = $(if $(filter 4%,$(EXABGP)),--python $(OLDEST)/bin/python) $(if $(SEED),--seed $(SEED)) $(if $(SLOW),--slow $(SLOW))

chaos: packages venv oldest namespaces ## Break everything at random, CHAOS faults, and judge it (ten minutes)
	$(BIN)/python tests/chaos/run.py --faults $(CHAOS) $(RIG)

SOAK ?= 3600

soak: packages venv oldest namespaces ## The same for SOAK seconds; pieces add up in build/soak.json
	$(BIN)/python tests/chaos/soak.py --seconds $(SOAK) --json build/soak.json $(RIG)

FUZZ ?= --count 100000

fuzz: venv namespaces ## Hostile inputs: 100,000 for each surface (FUZZ='--seed N'), and the sockets (SOCKETS='--seconds S')
	$(BIN)/python tests/fuzz/run.py $(FUZZ)
	$(BIN)/python tests/fuzz/sockets.py $(SOCKETS)

format: venv ## Put the source into its one format
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

packages: ## Install the Debian packages; their services are not started
	@scripts/packages.sh $(PACKAGES)

pages: venv ## Write the pages of docs/ anew that are made from the code
	PYTHONPATH=. $(BIN)/python scripts/profile_reference.py >docs/profile.md
	for script in policy_picture scripts/*_page.py; do \
	    script=$${script#scripts/}; PYTHONPATH=. $(BIN)/python scripts/$${script%.py}.py || exit 1; done

test-packages: packages
	@scripts/packages.sh $(TEST_PACKAGES)

venv: ## Make the virtual environment .venv, this checkout in it
	@scripts/venv.sh $(VENV) requirements/newest.txt

oldest: ## Make .venv-exabgp4, with the oldest libraries
	@scripts/venv.sh $(OLDEST) requirements/oldest.txt

newest: packages oldest ## Try today's newest of everything, unlocked: lint and the tests of single parts
	@scripts/venv.sh $(NEWEST) --newest
	$(MAKE) --no-print-directory BIN=$(NEWEST)/bin lint-only
	ANYCASTD_EXABGP_PYTHONS=$(CURDIR)/$(NEWEST)/bin/python \
	    $(NEWEST)/bin/python -m pytest tests/house tests/unit tests/search

tools:
	@scripts/venv.sh $(TOOLS) requirements/tools.txt

sbom: packages tools ## Write a bill of materials (CycloneDX, with licences) to dist/anycastd.cdx.json
	@scripts/venv.sh $(RUNTIME) requirements/runtime.txt
	mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py environment $(RUNTIME)/bin/python --pyproject pyproject.toml \
	    --output-reproducible --output-file dist/anycastd.cdx.json

audit: packages tools ## Ask an advisory service about every version in requirements/ (needs the network)
	for lock in runtime newest oldest build tools; do \
	    $(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements/$$lock.txt || exit 1; done

update: packages ## Write the locks in requirements/ anew, for a commit of their own
	@scripts/update.sh

namespaces:
	@scripts/namespaces.sh

clean: ## Remove what the other targets made here (not the Debian packages)
	rm -rf $(VENV) $(OLDEST) $(NEWEST) $(RUNTIME) $(TOOLS) $(DOCS) $(OTHERS) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find anycastd tests -name __pycache__ -prune -exec rm -rf {} +
