# Each goal installs what is missing, builds, and then does its work.

binary = $${CARGO_TARGET_DIR:-target}/release/sitewatch
# Folder of the static files for other machines, and the list of all targets.
artefacts = $${SITEWATCH_ARTEFACTS:-$${XDG_CACHE_HOME:-$$HOME/.cache}/sitewatch/artefacts}
targets = $$(. cross/toolchain && echo $$targets)

.PHONY: build run status test test-all test-days demo lint size bench-check bench-run bench-write bench-memory

build:
	@.ci/with build cargo build --release --locked

# Here the example keeps its data in this folder, not in /var/lib, and does not wait for the clock.
run status: export STATE_DIRECTORY := $(or $(STATE_DIRECTORY),state)
run: build
	@exec $(binary) run -c config.example -c tests/data/clock.toml

status:
	@exec $(binary) status -c config.example

# Runs all tests. FAULT_ROUNDS=200 kills ten times as many writers in tests/road/faults.rs.
# The release build comes first: tests run without a network, and one of them runs `make run`.
# One static file, for ARM, is built and tested under emulation; `make test-all` tests all of them. They are built
# with the packages of Debian 12: on other systems none is built unless ARTEFACTS names it.
debian12 = $$(. /etc/os-release 2>/dev/null; [ "$$ID$$VERSION_CODENAME" != debianbookworm ] || echo yes)
ARTEFACTS ?= $(shell [ -z "$(debian12)" ] || echo armv7-unknown-linux-musleabihf)
test: build
	@[ -z "$(ARTEFACTS)" ] || cross/build --cached $(ARTEFACTS)
	@SITEWATCH_ARTEFACTS="$(artefacts)" .ci/tests $(ARTEFACTS)

# Runs the tests that depend on the calendar, over midnight at New Year and after a leap day.
test-days:
	@.ci/tests --days

test-all: ARTEFACTS = $(targets)
test-all: test

# Shows the whole road with a throw-away Kafka and PostgreSQL, in under a minute.
demo:
	@.ci/with test cargo test --locked --quiet --test all -- --ignored --exact --nocapture road::demo::demo

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

# Prints the size of each static file, and the libraries that its bytes come from. ARTEFACTS names the targets.
size: ARTEFACTS = $(targets)
size:
	@cross/build --cached --symbols $(ARTEFACTS)
	@.ci/with build cargo test --locked --quiet --bench size -- "$(artefacts)" $(ARTEFACTS)

# Measures the CPU of a check beside that of a bare handshake, its lag, and whether its phases are true. Settings:
# CASES, SECONDS, PROGRAM. The memory of a target is measured in the static x86_64 file, since C libraries differ
# in that; and checks of that file must cost no more than those of the host's build. BLACKBOX=1 builds
# blackbox_exporter from its Go module and measures it too; BLACKBOX=PATH measures the program at that path.
bench-check:
	@cross/build --cached x86_64-unknown-linux-musl
	@[ "$(BLACKBOX)" != 1 ] || .ci/blackbox >/dev/null
	@STATIC="$(artefacts)/x86_64-unknown-linux-musl/sitewatch" \
	    BLACKBOX="$(if $(filter 1,$(BLACKBOX)),$$(.ci/blackbox),$(BLACKBOX))" \
	    .ci/with test cargo bench --locked --bench check

# Measures `run` with many targets. Settings: TARGETS, INTERVAL_S, SECONDS, BODY_KIB, SCHEME.
bench-run:
	@.ci/with test cargo bench --locked --bench run

# Measures `write`, and `psql` doing the same. Settings: CHECKS, TARGETS, PARTITIONS, BATCH.
bench-write:
	@.ci/with test cargo bench --locked --bench write

# Measures the memory of the static x86_64 file. Settings: CASES, SECONDS, TARGETS and others. The build of the
# harness itself does not matter, so no release build is made.
bench-memory:
	@cross/build --cached x86_64-unknown-linux-musl
	@SITEWATCH_ARTEFACTS="$(artefacts)" .ci/with test cargo test --locked --bench memory
