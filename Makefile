# `make run` and `make test` install what is missing, build, and do it.

binary = $${CARGO_TARGET_DIR:-target}/release/sitewatch

.PHONY: build run status test demo lint bench-run bench-write bench-memory

build:
	@.ci/with build cargo build --release --locked

run: build
	@exec $(binary) run -c config.example

status:
	@exec $(binary) status -c config.example

# FAULT_ROUNDS=200 kills ten times as many writers in tests/road/faults.rs.
# The release build comes first: tests run without a network, and one of them types `make run`.
test: build
	@.ci/with test cargo test --locked

# The whole road with a throw-away Kafka and PostgreSQL, in under a minute.
demo:
	@.ci/with test cargo test --locked --quiet --test all -- --ignored --exact --nocapture demo::demo

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings


# What `run` costs with many targets; TARGETS, INTERVAL_S, SECONDS, BODY_KIB, SCHEME change it.
bench-run:
	@.ci/with test cargo bench --locked --bench watch

# What `write` costs, and `psql` doing the same; CHECKS, TARGETS, PARTITIONS, BATCH change it.
bench-write:
	@.ci/with test cargo bench --locked --bench write

# What the x86_64 musl artefact keeps in memory; CASES, SECONDS, TARGETS and others change it. The
# harness's own build is of no matter, so no release build is made.
bench-memory:
	@.ci/with test cargo test --locked --bench memory
