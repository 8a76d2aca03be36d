# vmeter: `make demo` and `make test` are all that a newcomer needs.

STATIC := target/static/vmeter
STATIC_BUILD := RUSTFLAGS='-C target-feature=+crt-static' \
	cargo build --locked --release -p vmeter --target x86_64-unknown-linux-gnu --target-dir target/crt-static
TOOLS := $(CURDIR)/target/tools
DENY_VERSION := 0.20.2
# A new release of rustc does not change what the sources mean; cargo finds its tools here.
export PATH := $(TOOLS)/bin:$(HOME)/.cargo/bin:$(PATH)

.PHONY: help setup build static demo test lint bench clean

help:
	@echo 'make demo    run the quick study in the lab: native, Xen and KVM; leaves a page'
	@echo 'make test    run every test, those that boot real Xen and KVM included'
	@echo 'make static  build $(STATIC), which runs on any Linux 4.19 or later'
	@echo 'make bench   print what vmeter costs and does, side by side with its peers'
	@echo 'make lint    fmt, clippy, cargo-deny'

setup:
	@./setup

build: setup
	cargo build --locked --release

static: setup
	$(STATIC_BUILD)
	@mkdir -p $(dir $(STATIC))
	@cp target/crt-static/x86_64-unknown-linux-gnu/release/vmeter $(STATIC).part && mv $(STATIC).part $(STATIC)
	@echo "$(STATIC): $$(ldd $(STATIC) 2>&1 | tr -s '\t' ' ')"

demo: static
	@./demo

test: static
	VMETER_STATIC=$(CURDIR)/$(STATIC) cargo test --locked --no-fail-fast --workspace --lib --bins --tests

lint: setup
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@test -x $(TOOLS)/bin/cargo-deny || cargo install --locked --root $(TOOLS) cargo-deny@$(DENY_VERSION)
	.ci/deny

bench: static
	@./setup bench
	VMETER_STATIC=$(CURDIR)/$(STATIC) cargo bench --locked -p vmeter

clean:
	cargo clean
