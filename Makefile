# vmeter: `make demo` and `make test` are all that a newcomer needs.

TARGET := target/x86_64-unknown-linux-gnu
STATIC := target/static/vmeter
# What runs in the lab's machines: quick to build, and optimised where it works hard (Cargo.toml).
PROGRAM := $(CURDIR)/target/lab/vmeter
# A new release of rustc does not change what the sources mean; cargo finds its tools here.
export PATH := $(TOOLS)/bin:$(HOME)/.cargo/bin:$(PATH)

.PHONY: help setup build static program demo test test-fast test-lab attack soak lint deny bench \
	release clean

help:
	@echo 'make demo       run the quick study in the lab: native, Xen and KVM; leaves a page'
	@echo 'make test       run every test, those that boot real Xen and KVM included'
	@echo 'make test-fast  run the tests that need no emulated machine'
	@echo 'make test-lab [TEST=NAME] [KEEP=FOLDER]'
	@echo '                run the tests in emulated machines, or those of a name (DEVELOPING.md)'
	@echo 'make attack     run the tests that attack vmeter as another user would (as root: SECURITY.md)'
	@echo 'make soak [COUNT=10]'
	@echo '                run .ci/run again and again, on a busy machine and from nothing too'
	@echo 'make static     build $(STATIC), which runs on any Linux 4.19 or later'
	@echo 'make bench [PART=NAME]'
	@echo '                print what vmeter costs and does, side by side with its peers'
	@echo 'make release    pack the static program, man pages, completions, notes and checksums'
	@echo 'make lint       fmt, clippy'
	@echo 'make deny       cargo-deny: licences, sources, advisories'

setup:
	@./setup

build: setup
	cargo build --locked --release

static: setup
	cargo build --locked --release -p vmeter
	@mkdir -p $(dir $(STATIC))
	@cp $(TARGET)/release/vmeter $(STATIC).part && mv $(STATIC).part $(STATIC)
	@echo "$(STATIC): $$(ldd $(STATIC) 2>&1 | tr -s '\t' ' ')"

program: setup
	cargo build --locked -p vmeter
	@mkdir -p $(dir $(PROGRAM))
	@strip -o $(PROGRAM).part $(TARGET)/debug/vmeter && mv $(PROGRAM).part $(PROGRAM)

demo: program
	@./demo

test: program
	@PROGRAM=$(PROGRAM) .ci/test

test-fast: setup
	@PROGRAM=$(PROGRAM) .ci/test fast

test-lab: program
	@PROGRAM=$(PROGRAM) KEEP=$(KEEP) .ci/test lab $(TEST)

# Tests whose names hold `attack`.
attack: setup
	cargo test --locked --workspace --lib --bins --test suite --test taps attack

soak: setup
	@.ci/soak $(or $(COUNT),10)

lint: setup
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

deny: setup
	@test -x $(TOOLS)/bin/cargo-deny || cargo install --locked --root $(TOOLS) cargo-deny@$(DENY_VERSION)
	.ci/deny

bench: static
	@./setup bench
	VMETER_STATIC=$(CURDIR)/$(STATIC) cargo bench --locked -p vmeter -- $(PART)

release: static
	.ci/release $(STATIC)

clean:
	cargo clean
