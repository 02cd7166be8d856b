# Flex-MIG for Slurm. `make help` lists the targets.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
PREFIX ?= /usr/local
SLURM_PLUGIN_DIR ?= $(or $(firstword $(wildcard /usr/lib/*/slurm-wlm /usr/lib64/slurm)),$(PREFIX)/lib/slurm)
# Other releases to test on: Debian suites, and where their root directories are kept.
SUITES ?= trixie testing
ROOTS ?= build/roots
# Cluster tests mostly wait.
CLUSTER_THREADS ?= 4

PLUGINS := --package flexmig-slurm-plugin --package flexmig-gres-mig
# Always the whole workspace: with fewer packages dependencies get fewer features, and mock-nvml, whose
# cdylib has one file name only, would be built over and over.
TEST := $(CARGO) test --workspace --no-fail-fast
CLUSTER_TESTS := $(TEST) $(patsubst tests/cluster/tests/%.rs,--test %,$(wildcard tests/cluster/tests/*.rs))

.DEFAULT_GOAL := build
.PHONY: help setup build build-test lint test test-matrix test-long validate-sim validate-sim-short wheels roots bench bench-setup demo install clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 20

setup: ## install what building and testing need (Debian packages; asks sudo if not root)
	@sh scripts/setup

build: ## build/lib/*.so, build/lib/slurm/*.so and build/bin/flexmig, as they are installed
	$(CARGO) build --release $(PLUGINS) --package flexmig-nccl-net --package flexmig-cli
	$(CARGO) build --profile preload --package flexmig-preload
	@install -d build/lib/slurm build/bin
	install -m 644 $(TARGET)/release/libjob_submit_flexmig.so build/lib/slurm/job_submit_flexmig.so
	install -m 644 $(TARGET)/release/libgres_flexmig.so build/lib/slurm/gres_flexmig.so
	install -m 755 $(TARGET)/release/flexmig build/bin/flexmig
	install -m 644 $(TARGET)/release/libnccl_net_flexmig.so build/lib/libnccl-net-flexmig.so
	install -m 644 $(TARGET)/preload/libflexmig_preload.so build/lib/libflexmig_preload.so
	@sh scripts/check-preload build/lib/libflexmig_preload.so

build-test: ## build/test: the plugins with fault injection, and mock-nvml as libnvidia-ml.so.1
	$(CARGO) build --profile fault $(PLUGINS) --features fault-injection
	$(CARGO) build --workspace
	@install -d build/test/lib/slurm
	install -m 644 $(TARGET)/fault/libjob_submit_flexmig.so build/test/lib/slurm/job_submit_flexmig.so
	install -m 644 $(TARGET)/fault/libgres_flexmig.so build/test/lib/slurm/gres_flexmig.so
	install -m 644 $(TARGET)/debug/libmock_nvml.so build/test/lib/libnvidia-ml.so.1

lint: ## formatting, clippy and documentation, without a warning
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --workspace --no-deps --document-private-items

test: setup build build-test ## all tests; those on a cluster use the installed Slurm
	sh tests/gpu/check
	$(TEST) -- --test-threads=$(CLUSTER_THREADS)

# Their times and rates are printed, so that a slow run can be told from a wrong one.
test-long: setup build build-test ## streams of jobs and load on a real slurmctld; the net plugin's long tests
	$(TEST) --test streams --test load -- --ignored --nocapture --test-threads=1
	FLEXMIG_TEST_KILL_ROUNDS=1000 $(TEST) --test kill
	$(TEST) --test traffic -- --ignored --test-threads=1
	$(CARGO) test --release --package flexmig-nccl-net --features loom --test loom \
		--target-dir $(TARGET)/loom

# Six clusters at the same time, with jobs that sleep: 25 minutes, and next to no CPU.
validate-sim: setup build build-test ## the simulator against a real slurmctld: three seeds, 25 minutes
	$(TARGET)/debug/validate-sim

validate-sim-short: setup build build-test ## the same with one seed and fewer jobs: 10 minutes
	$(TARGET)/debug/validate-sim --short

wheels: ## published NCCL binaries for the preload tests: build/wheels (900 MB of downloads)
	sh scripts/wheels

roots: setup ## root directories with the Slurm of other Debian suites (root only)
	@set -e; for suite in $(SUITES); do sh scripts/slurm-root $$suite $(ROOTS)/$$suite; done

test-matrix: setup build build-test roots ## the cluster tests on other releases, with the same plugin files
	@sha256sum build/lib/slurm/*.so | tee build/plugins.sha256
	@set -e; for suite in $(SUITES); do \
		echo "test-matrix: $$suite: $$(chroot $(ROOTS)/$$suite slurmctld -V)"; \
		FLEXMIG_SLURM_ROOT=$(abspath $(ROOTS))/$$suite \
			$(CLUSTER_TESTS) -- --test-threads=$(CLUSTER_THREADS); \
		FLEXMIG_SLURM_ROOT=$(abspath $(ROOTS))/$$suite \
			$(TEST) --test layout_check; \
		sha256sum --check --quiet build/plugins.sha256; \
	done

bench-setup: ## what the transport is compared with: UCX, Open MPI, PyTorch (Debian packages)
	@sh scripts/bench-setup

bench: setup build build-test ## timings side by side, and build/bench/summary.json
	sh scripts/bench

demo: setup build build-test ## a 2-node cluster on mock GPUs, a composed job, and an all-reduce over four leaves
	sh scripts/demo

install: build ## DESTDIR, PREFIX, SLURM_PLUGIN_DIR
	install -d $(DESTDIR)$(SLURM_PLUGIN_DIR) $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/flexmig \
		$(DESTDIR)$(PREFIX)/share/doc/flexmig/conf/systemd $(DESTDIR)$(PREFIX)/share/man/man1 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	install -m 644 build/lib/slurm/job_submit_flexmig.so build/lib/slurm/gres_flexmig.so \
		$(DESTDIR)$(SLURM_PLUGIN_DIR)
	install -m 644 build/lib/libflexmig_preload.so build/lib/libnccl-net-flexmig.so \
		$(DESTDIR)$(PREFIX)/lib/flexmig
	install -m 755 build/bin/flexmig $(DESTDIR)$(PREFIX)/bin
	install -m 644 README.md LICENSE-MIT LICENSE-APACHE $(wildcard docs/*.md) \
		$(DESTDIR)$(PREFIX)/share/doc/flexmig
	install -m 644 $(wildcard conf/*.*) $(DESTDIR)$(PREFIX)/share/doc/flexmig/conf
	install -m 644 $(wildcard conf/systemd/*) $(DESTDIR)$(PREFIX)/share/doc/flexmig/conf/systemd
	rm -rf build/generated && mkdir -p build/generated/man build/generated/completion
	build/bin/flexmig generate man build/generated/man
	build/bin/flexmig generate completion build/generated/completion
	install -m 644 build/generated/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 build/generated/completion/flexmig.bash \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/flexmig
	install -m 644 build/generated/completion/_flexmig $(DESTDIR)$(PREFIX)/share/zsh/site-functions
	install -m 644 build/generated/completion/flexmig.fish \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d

clean: ## removes what was built; the roots stay
	$(CARGO) clean
	rm -rf build/lib build/bin build/test build/bench build/generated build/plugins.sha256
