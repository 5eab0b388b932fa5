# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The one place for commands. `make help` lists them; the work is done by scripts/, cargo and Kbuild.

.DEFAULT_GOAL := help

# A kernel's prepared build folder, for `make modules`; the lab has kernels of its own.
KDIR ?= /lib/modules/$(shell uname -r)/build
# Where Kbuild puts what it makes: beside the sources unless this is set.
MO ?=
CARGO ?= cargo

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: modules
modules: ## Build thunderbolt_stream.ko for the kernel in KDIR (MO=folder for the output)
	$(MAKE) -C $(KDIR) M=$(CURDIR) $(if $(MO),MO=$(abspath $(MO))) modules

.PHONY: modules-clean
modules-clean: ## Remove what `make modules` made
	$(MAKE) -C $(KDIR) M=$(CURDIR) $(if $(MO),MO=$(abspath $(MO))) clean

.PHONY: install
install: ## Install module and programs, as root after `make modules` (DESTDIR=, PREFIX=)
	KDIR=$(KDIR) MO=$(MO) scripts/install module programs

.PHONY: uninstall
uninstall: ## Remove what `make install` has installed
	KDIR=$(KDIR) MO=$(MO) scripts/install uninstall

.PHONY: module
module: ## Build the module for the lab's kernel into build/module
	scripts/setup
	scripts/module

.PHONY: setup
setup: ## Prepare tool chain, kernel and guests in the cache (about 15 minutes once)
	scripts/setup

.PHONY: demo
demo: ## From nothing to two hosts exchanging data over an emulated cable
	scripts/demo

.PHONY: lab
lab: ## Two hosts up, with their consoles at hand
	scripts/play

.PHONY: test
test: ## Everything that CI runs
	scripts/test

.PHONY: test-unit
test-unit: ## The part of the tests that needs no guests
	scripts/test unit

.PHONY: test-lab
test-lab: ## The part of the tests that boots guests
	scripts/test lab

.PHONY: defects
defects: ## Each defect of the C driver, shown with both drivers, as a table
	scripts/defects

.PHONY: kunit
kunit: ## The module's KUnit suites, in a guest
	scripts/setup
	scripts/module
	$(CARGO) build --release --quiet -p lab
	$(CARGO) test --release --quiet -p lab --test kunit -- --nocapture

.PHONY: test-package
test-package: ## Build the Debian package; install, upgrade, remove it; use it in two guests
	scripts/test-package

.PHONY: test-usecases
test-usecases: ## What people plug the cable for, heavy parts included (ROUNDS=n exchanges of each kind, 100000)
	TBS_ROUNDS=$(or $(ROUNDS),100000) scripts/test usecases

.PHONY: test-debug
test-debug: ## The tests of the module on a kernel with KASAN, lockdep, DMA-API debug, kmemleak
	scripts/test debug

.PHONY: faults
faults: guest-tool ## Every fault while everything goes on, as a table (FAULTS=word: cells with it)
	FAULTS="$(or $(FAULTS),all)" $(CARGO) test --release -p lab --test faults -- --nocapture

.PHONY: soak
soak: guest-tool ## Random sessions and trouble, the books checked (SECONDS=n, 600; SEED=n)
	SOAK_SECONDS=$(or $(SECONDS),600) $(if $(SEED),SOAK_SEED=$(SEED)) \
		$(CARGO) test --release -p lab --test soak -- --nocapture --test-threads 1

.PHONY: hostile
hostile: guest-tool ## A hostile user, a hostile peer (SECONDS=n each, 600; SEED=n; KERNEL=debug)
	scripts/setup $(if $(KERNEL),--kernel $(KERNEL))
	scripts/module $(if $(KERNEL),--kernel $(KERNEL))
	$(CARGO) build --release --quiet -p lab
	HOSTILE_SECONDS=$(or $(SECONDS),600) $(if $(SEED),HOSTILE_SEED=$(SEED)) $(if $(KERNEL),TBS_KERNEL=$(KERNEL)) \
		$(CARGO) test --release -p lab --test 'hostile_*' --no-fail-fast -- --nocapture --test-threads 1

.PHONY: guest-tool
guest-tool:
	$(CARGO) rustc --release --quiet -p guest-tool -- -C target-feature=+crt-static

.PHONY: bench-programs
bench-programs: guest-tool
	scripts/setup
	$(CARGO) build --release --quiet -p lab -p insn-plugin

.PHONY: bench
bench: bench-programs ## Our module against the kernel's C driver, a pipe and TCP (some 20 minutes)
	scripts/module
	target/release/bench

.PHONY: bench-quick
bench-quick: bench-programs ## The same, key rows only (about 2 minutes)
	scripts/module
	target/release/bench --quick

.PHONY: bench-lab
bench-lab: bench-programs ## What the lab and the kernel's own drivers do on this machine, as a table
	target/release/bench --quick --reference

.PHONY: endurance
endurance: ## Boot, discover, transfer, compare, 30 times in a row (ROUNDS=n)
	scripts/endurance $(ROUNDS)

.PHONY: fuzz
fuzz: ## Fuzz the emulator with what guests can send (SECONDS=n, 300)
	scripts/fuzz emulator $(or $(SECONDS),300)

.PHONY: fuzz-session
fuzz-session: ## Fuzz the protocol with what peers can send (SECONDS=n, 300)
	scripts/fuzz session $(or $(SECONDS),300)

.PHONY: clean
clean: ## Remove what was built here (the cache stays: scripts/setup --clean)
	rm -rf build target
