# `make run` and `make test` install what is missing, build, and do it.

binary = $${CARGO_TARGET_DIR:-target}/release/sitewatch
# Static files for other machines: where they are kept, and all there can be.
artefacts = $${SITEWATCH_ARTEFACTS:-$${XDG_CACHE_HOME:-$$HOME/.cache}/sitewatch/artefacts}
targets = $$(. cross/toolchain && echo $$targets)

.PHONY: build run status test test-all test-days demo lint size bench-check bench-run bench-write bench-memory

build:
	@.ci/with build cargo build --release --locked

# The example keeps its data here, not in /var/lib, and does not wait for a clock.
run status: export STATE_DIRECTORY := $(or $(STATE_DIRECTORY),state)
run: build
	@exec $(binary) run -c config.example -c tests/data/clock.toml

status:
	@exec $(binary) status -c config.example

# FAULT_ROUNDS=200 kills ten times as many writers in tests/road/faults.rs.
# The release build comes first: tests run without a network, and one of them types `make run`.
# Of the static files one for ARM is built and tested, under emulation; `make test-all` has them all.
# They are built with what Debian 12 has: elsewhere there is none unless ARTEFACTS asks for it.
debian12 = $$(. /etc/os-release 2>/dev/null; [ "$$ID$$VERSION_CODENAME" != debianbookworm ] || echo yes)
ARTEFACTS ?= $(shell [ -z "$(debian12)" ] || echo armv7-unknown-linux-musleabihf)
test: build
	@[ -z "$(ARTEFACTS)" ] || cross/build --cached $(ARTEFACTS)
	@SITEWATCH_ARTEFACTS="$(artefacts)" .ci/tests $(ARTEFACTS)

# Those that depend on the calendar, over midnight at the year's turn and after a leap day.
test-days:
	@.ci/tests --days

test-all: ARTEFACTS = $(targets)
test-all: test

# The whole road with a throw-away Kafka and PostgreSQL, in under a minute.
demo:
	@.ci/with test cargo test --locked --quiet --test all -- --ignored --exact --nocapture demo::demo

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

# What each static file weighs, and where its bytes come from; ARTEFACTS: of which.
size: ARTEFACTS = $(targets)
size:
	@cross/build --cached --symbols $(ARTEFACTS)
	@.ci/with build cargo test --locked --quiet --bench size -- "$(artefacts)" $(ARTEFACTS)

# What a check costs beside a bare handshake, how late it is and how true; CASES, SECONDS, PROGRAM.
# What a target takes in memory is that of the x86_64 musl artefact, since C libraries differ in that; and
# its checks must cost no more than those of the host's build. BLACKBOX=1 builds blackbox_exporter from its
# Go module and measures it beside; a path names one that is there.
bench-check:
	@cross/build --cached x86_64-unknown-linux-musl
	@[ "$(BLACKBOX)" != 1 ] || .ci/blackbox >/dev/null
	@STATIC="$(artefacts)/x86_64-unknown-linux-musl/sitewatch" \
	    BLACKBOX="$(if $(filter 1,$(BLACKBOX)),$$(.ci/blackbox),$(BLACKBOX))" \
	    .ci/with test cargo bench --locked --bench check

# What `run` costs with many targets; TARGETS, INTERVAL_S, SECONDS, BODY_KIB, SCHEME change it.
bench-run:
	@.ci/with test cargo bench --locked --bench watch

# What `write` costs, and `psql` doing the same; CHECKS, TARGETS, PARTITIONS, BATCH change it.
bench-write:
	@.ci/with test cargo bench --locked --bench write

# What the x86_64 musl artefact keeps in memory; CASES, SECONDS, TARGETS and others change it. The
# harness's own build is of no matter, so no release build is made.
bench-memory:
	@cross/build --cached x86_64-unknown-linux-musl
	@SITEWATCH_ARTEFACTS="$(artefacts)" .ci/with test cargo test --locked --bench memory
