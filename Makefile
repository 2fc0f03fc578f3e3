# Everything a newcomer needs: make demo, make run, make test, make check.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PYTHON := $(VENV)/bin/python
JUDGES := .venv-judges
PAPERS := .venv-papers
comma := ,
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
APT_RUN := orthanc orthanc-python orthanc-dicomweb
APT_POSTGRESQL := orthanc-postgresql postgresql
APT_BROKER := rabbitmq-server
APT_TEST := dcmtk dicom3tools plastimatch
AXE := 4.10.3
# The newest, and the one that Orthanc's own OHIF plugin 1.8 brings: 100 MB to fetch, 100 MB on disk.
OHIF := 3.13.2 3.12.0
READERS := dicompyler_core dicomrttool dcmqi platipy pydicom_seg rt_utils
APT_BROWSER := chromium chromium-driver nginx-light
# Half of the tests wait while the other half computes. A file's tests share what they start.
BY_FILE := --dist loadfile --max-worker-restart 0
SIDE_BY_SIDE := -n auto --maxprocesses 4 $(BY_FILE)
# One more than there are cores: the fast tests wait for a third of their time.
FAST := -n $(shell echo $$(( $$(nproc) < 4 ? $$(nproc) + 1 : 4 ))) $(BY_FILE)
# Where the environment was made. In a copied checkout that is another place, whose code it would run.
MADE_AT := $(shell sed -n 's/^command = .* -m venv.* \(\/.*\)$$/\1/p' $(VENV)/pyvenv.cfg 2>/dev/null)
MOVED := $(and $(MADE_AT),$(filter-out $(realpath $(VENV)),$(MADE_AT)))
# Without what Python keeps of a module, every process compiles it anew; the tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPATH := $(CURDIR)
export JUDGES_VENV := $(CURDIR)/$(JUDGES)

.PHONY: help
help: ## what there is
	@grep -hE '^[a-z0-9-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: demo
demo: orthanc $(VENV)/installed ## send a CT (CT=PATH: your own) to a fresh Orthanc and fetch its liver
	$(PYTHON) -m tests.demo $(if $(CT),--ct "$(CT)")

.PHONY: run
run: orthanc $(VENV)/installed ## leave Orthanc running with the plugin, for use by hand
	$(PYTHON) -m tests.run

.PHONY: install
install: orthanc $(VENV)/runs ## what a server needs: Orthanc's packages and the environment

.PHONY: bundle
bundle: $(VENV)/runs ## an archive in bundle/ that installs without a network, for this Python and processor
	offline/make.sh $(PYTHON) bundle

.PHONY: test-fast
test-fast: $(VENV)/installed ## the tests that need no Orthanc, browser or network
	$(PYTHON) -m pytest -m unit -q $(FAST)

.PHONY: coverage
coverage: $(VENV)/installed ## what of the code the fast tests run; less than the floor fails
	$(PYTHON) -m pytest -m unit $(FAST) --cov --cov-report=term:skip-covered

.PHONY: test
test: export LIVER_REQUIRE := orthanc
test: orthanc judges browser $(VENV)/installed ## all tests that fit into a few minutes
	$(PYTHON) -m pytest -m "not long and not viewers and not cluster" $(SIDE_BY_SIDE) $(PYTEST)

.PHONY: test-long
test-long: orthanc judges browser $(VENV)/installed ## the tests that take minutes each
	$(PYTHON) -m pytest -m "long and not cluster" $(PYTEST)

.PHONY: test-viewers
test-viewers: orthanc judges browser viewers $(VENV)/installed ## what other people's viewers and readers show of our results; minutes
	$(PYTHON) -m pytest -m viewers $(PYTEST)

.PHONY: test-orthanc13
# /tools/reset ends Orthanc 1.12.7 with SIGSEGV, with an empty script too: not asked of it. The fake
# answers as Orthanc 1.10.1 does, in the order of instances and of changes too.
test-orthanc13: $(VENV)/installed ## the host's tests on Debian 13's Orthanc (SUITE=testing: on Debian testing's)
	@$(call apt_install,debootstrap)
	$(SUDO) tests/other_orthanc.sh $(or $(SUITE),trixie) -m "not long" -k "not tools_reset and not fake_answers_as_the_real_one" $(PYTEST)

# Each Orthanc has a database of its own, in a server of the tests' own on loopback. /tools/reset
# may end Orthanc where PostgreSQL's plugin is loaded, with an empty script too: not asked of it.
BESIDE_POSTGRESQL = $(PYTHON) -m tests.beside_postgresql

.PHONY: test-postgresql
test-postgresql: export LIVER_REQUIRE := orthanc
test-postgresql: postgresql $(VENV)/installed ## the host's tests on Orthanc with its index in PostgreSQL
	$(BESIDE_POSTGRESQL) $(PYTHON) -m pytest -m "orthanc and not browser and not long" \
	  -k "not tools_reset" $(PYTEST) tests/plugin/host

.PHONY: test-cluster
test-cluster: orthanc rabbitmq $(VENV)/installed ## workers behind a broker: Orthancs, RabbitMQ and kills; ten minutes
	$(PYTHON) -m pytest -m cluster $(PYTEST)

.PHONY: check
check: $(VENV)/installed ## style, types, import rules, bandit
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/bandit --quiet --configfile pyproject.toml --recursive plugin model

# Refused before anything is fetched or installed.
BENCH_PARTS = $(shell sed -n 's/^def \([a-z]*\)(folder: Path) -> None:/\1/p' tests/bench/__main__.py)
BENCH_ONLY := $(subst $(comma), ,$(ONLY))
ifneq ($(filter bench,$(MAKECMDGOALS)),)
$(foreach part,$(filter-out $(BENCH_PARTS),$(BENCH_ONLY)),$(error make bench: there is no part $(part); there are $(BENCH_PARTS)))
endif

.PHONY: bench
bench: orthanc $(JUDGES)/rt_utils/installed $(VENV)/installed ## timings side by side, as ratios (ONLY=stages,orthanc: those parts)
	@$(call apt_install,dcmtk)
	$(PYTHON) -m tests.bench $(BENCH_ONLY)

# On a machine with a GPU and its PyTorch, but perhaps no network: what else is needed comes from
# WHEELS, a folder that `pip download` filled elsewhere.
.PHONY: bench-gpu
bench-gpu: ## one case on the GPU, as JSON in OUT (WHEELS=DIR: install from there, with this machine's PyTorch)
	$(if $(WHEELS),python3 -m pip install --quiet --no-index --no-deps "$(WHEELS)"/*.whl)
	PYTHONPATH="$(CURDIR):$(CURDIR)/plugin:$(CURDIR)/model" \
	  $(if $(WHEELS),python3,$(PYTHON)) -m tests.bench.gpu "$(or $(OUT),bench-gpu.json)"

.PHONY: soak
soak: orthanc $(VENV)/installed ## 18 full-size series at once and two kills; some minutes
	$(PYTHON) -m tests.soak $(SOAK)

.PHONY: soak-postgresql
soak-postgresql: postgresql $(VENV)/installed ## the same on Orthanc with its index in PostgreSQL
	$(BESIDE_POSTGRESQL) $(PYTHON) -m tests.soak $(SOAK)

.PHONY: against-atlas
against-atlas: $(VENV)/installed ## network against atlas on unseen patients (OUT=DIR, WEIGHTS=DIR)
	$(PYTHON) -m tests.network_against_atlas --data "$${LIVER_DATA:-../shared/data}/train" \
	  --out "$(or $(OUT),against-atlas)" $(if $(WEIGHTS),--weights "$(WEIGHTS)")

.PHONY: painted
painted: $(VENV)/installed ## draw docs/painted.png, what a training paints
	$(PYTHON) -m tests.painted

.PHONY: review-picture
review-picture: orthanc browser $(VENV)/installed ## draw docs/review.png, the review page with a made-up patient
	$(PYTHON) -m tests.review_picture

# The site holds every paper at its own place, so that links between them hold.
.PHONY: docs
docs: $(PAPERS)/installed ## the papers as a site in build/site, its links checked
	rm -rf build/papers build/site && mkdir -p build/papers
	cp --parents *.md model/README.md model/weights/LICENSE.md docs/* build/papers
	$(PAPERS)/bin/mkdocs build

.PHONY: sbom
sbom: $(PAPERS)/installed ## build/sbom.json: what is installed in .venv (CycloneDX)
	mkdir -p build
	$(PAPERS)/bin/cyclonedx-py environment --output-reproducible \
	  --output-file build/sbom.json $(PYTHON)

.PHONY: orthanc
orthanc:
	@$(call apt_install,$(APT_RUN))

.PHONY: postgresql
postgresql: orthanc
	@$(call apt_install,$(APT_POSTGRESQL))

# Where it was not there before, its service does not start: the tests have a broker of their own.
.PHONY: rabbitmq
rabbitmq:
	@dpkg -s $(APT_BROKER) >/dev/null 2>&1 || { $(SUDO) ln -sf /dev/null /etc/systemd/system/rabbitmq-server.service || true; \
	$(call apt_install,$(APT_BROKER)); }

.PHONY: judges
judges: $(JUDGES)/dcmrtstruct2nii/installed $(JUDGES)/pydicomrt/installed $(JUDGES)/schemathesis/installed
	@$(call apt_install,$(APT_TEST))

.PHONY: browser
browser: $(JUDGES)/axe/installed
	@$(call apt_install,$(APT_BROWSER)) || echo "make: tests go on without a browser"

# What finds faults of accessibility in a page, for the tests alone; nothing of it is run by node.
$(JUDGES)/axe/installed:
	mkdir -p $(@D)
	@if cd $(@D) && npm pack --silent axe-core@$(AXE) && tar xzf axe-core-$(AXE).tgz --strip-components=1; \
	then touch installed; else echo "make: tests go on without axe-core (it needs npm)"; fi

# Each is left out, and its tests skip, where it cannot be had.
.PHONY: viewers
viewers: $(OHIF:%=$(JUDGES)/ohif-%/installed) $(READERS:%=$(JUDGES)/%/installed) $(JUDGES)/webviewer/installed

# Served as files, so nothing of it is run by node; models and source maps are left out.
$(JUDGES)/ohif-%/installed:
	mkdir -p $(@D)
	@if cd $(@D) && npm pack --silent @ohif/app@$* && tar xzf ohif-app-$*.tgz --strip-components=1 \
	  --exclude package/dist/ort --exclude package/dist/dicom-microscopy-viewer --exclude '*.map'; \
	then rm -f ohif-app-$*.tgz; touch installed; \
	else echo "make: tests go on without OHIF $* (it needs npm)"; fi

# Not installed: in Orthanc's folder of plugins every other test would load it.
$(JUDGES)/webviewer/installed:
	mkdir -p $(@D)
	@if cd $(@D) && apt-get download -qq orthanc-webviewer && dpkg -x orthanc-webviewer_*.deb .; \
	then touch installed; else echo "make: tests go on without orthanc-webviewer"; fi

# $(1): Debian packages
define apt_install
dpkg -s $(1) >/dev/null 2>&1 || { $(SUDO) apt-get update -qq; \
$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(1); }
endef

# runs: what a server needs; installed: what the tests need as well.
$(VENV)/runs: EXTRAS :=
$(VENV)/installed: EXTRAS := [test]
$(VENV)/runs $(VENV)/installed: pyproject.toml constraints.txt $(if $(MOVED),moved)
	@python3 -c "import ensurepip, venv" 2>/dev/null || $(call apt_install,python3-venv)
	python3 -m venv $(if $(MOVED),--clear )$(VENV)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable ".$(EXTRAS)"
	touch $@

.PHONY: moved
moved:
	@echo "make: $(VENV) was made in $(MADE_AT) and is made anew here"

$(PAPERS)/installed: docs/tools.txt
	@python3 -c "import ensurepip, venv" 2>/dev/null || $(call apt_install,python3-venv)
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --no-deps --requirement $<
	touch $@

# Other people's programs that read our RTSTRUCT, or ask our routes; each needs versions that ours cannot live with.
# Where one cannot be installed (it wants an older Python), its tests skip and say so.
$(JUDGES)/%/installed: tests/support/judges/%.txt
	@python3 -c "import ensurepip, venv" 2>/dev/null || $(call apt_install,python3-venv)
	python3 -m venv $(@D)
	if $(@D)/bin/pip install --quiet --no-deps --requirement $<; then touch $@; \
	else echo "make: tests go on without the judge $*"; rm -rf $(@D); fi
