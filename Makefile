# The commands of this project. `make help` lists them.

GO ?= go
# The race detector needs a C compiler; where there is none, the tests run
# without it.
RACE := $(shell command -v $${CC:-cc} >/dev/null 2>&1 && echo -race)
# A test that hangs ends by itself long before; this is for machines that are slow.
TESTFLAGS := -shuffle=on -timeout 1h
# Many tests wait for processes, so more of them run at once than there are cores.
ATONCE := -p 4 -parallel 4
EMULATORS := $(GO) run ./linkcore/emulatortest/share
BENCH ?= .
BENCHCOUNT ?= 6
FUZZTIME ?= 30s
# What is run or deployed; the rest of cmd/ measures and proves.
PROGRAMS := ./cmd/linktracker ./cmd/linkctl ./cmd/linkwatch ./cmd/linkconsent
SOAK ?= 5m
SCALE ?= 1m
RATE ?= 1000
PEERS ?=

.PHONY: help
help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 26

.PHONY: run
run: ## run the endpoint with nothing else, and print a link to click
	@echo 'Building linktracker, which takes a minute the first time.'
	@$(GO) build -o bin/linktracker ./cmd/linktracker
	@# As a job of its own, so that Ctrl-C stops it and not make.
	@if [ -t 0 ]; then set -m; fi; bin/linktracker --dev

.PHONY: build
build: ## build the programs into bin/
	$(GO) build -trimpath -ldflags='-s -w' -o bin/ $(PROGRAMS)

.PHONY: check
check: lint ## lint and the short tests, in less than a minute
	$(GO) test $(TESTFLAGS) -short ./...

.PHONY: test
test: ## run all tests but the large ones, with the official emulators where they are installed
	$(EMULATORS) $(GO) test $(TESTFLAGS) $(ATONCE) $(RACE) ./...

# Besides those that say testsize.Large, one does more there than in make test: it
# counts allocations, which the race detector changes.
LARGE = TestClickAllocations
LARGE_LINES = grep -rn -A1 --include=*_test.go '^func Test' . | grep -B1 'testsize\.Large(t)'

.PHONY: test-large
test-large: ## run the large tests: Chromium, a clock that jumps, ten thousand connections, histories of months
	LARGE=1 $(EMULATORS) $(GO) test $(TESTFLAGS) -count 1 -run "^($(LARGE)|$$($(LARGE_LINES) | sed -n 's/.*func \(Test[A-Za-z0-9]*\).*/\1/p' | paste -sd '|' -))$$" ./...

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, and whether go.mod is tidy
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "run gofmt -w on:" $$unformatted; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff

.PHONY: bench
bench: ## run the benchmarks; BENCH=pattern, BENCHCOUNT=runs
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(BENCHCOUNT) ./...

.PHONY: bench-peers
bench-peers: ## measure the endpoint beside its peers, for the table of PERFORMANCE.md; PEERS=flags
	$(GO) run ./cmd/benchpeers $(PEERS)

.PHONY: soak
soak: ## click at a constant rate while rules change, and count every event; SOAK=duration RATE=clicks a second
	LARGE=1 SOAK=$(SOAK) SOAK_RATE=$(RATE) REQUIRE_EMULATORS=1 $(GO) test -count 1 -timeout 24h -v -run '^(TestSoak|TestRulesGrow)$$' ./cmd/linktracker

.PHONY: scale
scale: ## replace eight instances behind a balancer while clicks come and rules change; SCALE=duration RATE=clicks a second
	LARGE=1 SCALE=$(SCALE) SCALE_RATE=$(RATE) REQUIRE_EMULATORS=1 $(GO) test -count 1 -timeout 24h -v -run '^TestEightInstances$$' ./cmd/linktracker

.PHONY: cold
cold: ## click on eight instances that have just started with 100,000 rules, and import a million while eight run; takes an hour
	LARGE=1 COLD=1 IMPORT=1000000 REQUIRE_EMULATORS=1 $(GO) test -count 1 -timeout 4h -v -run '^(TestColdInstances|TestImportWhileEightRun)$$' ./cmd/linktracker

.PHONY: watch-model
watch-model: ## simulate days of mail and an attack, for the table of cmd/internal/watch/worker/CONFIG.md
	WATCH_MODEL=1 LARGE=1 $(GO) test -count 1 -timeout 1h -v -run '^TestMailboxes$$' ./cmd/internal/watch

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME
	@for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$package || exit 1; \
		done; \
	done

.PHONY: terraform-check
terraform-check: ## check terraform/: fmt, init, validate, and its tests
	terraform/check

include terraform/deploy.mk
