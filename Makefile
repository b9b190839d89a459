# `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO ?= go
# The same flags in every command, so that nothing is compiled twice.
export GOFLAGS := -trimpath -buildvcs=false
export PATH := $(PATH):/usr/sbin:/sbin:$(CURDIR)/build

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null)
# The version of the Kubernetes API that is served, as clients read it.
KUBE_VERSION := v1.37.2
LDFLAGS := -s -w \
	-X main.version=$(VERSION) -X main.commit=$(COMMIT) \
	-X k8s.io/component-base/version.gitVersion=$(KUBE_VERSION)+headway \
	-X k8s.io/component-base/version.gitMajor=1 \
	-X k8s.io/component-base/version.gitMinor=37 \
	-X k8s.io/component-base/version.gitCommit=$(COMMIT)

BUILD := build
IMAGES := $(BUILD)/images
LINT := $(GO) tool -modfile=tools/go.mod golangci-lint
# Every package, split by how its tests share the machine: those of MACHINE
# use its containerd, iptables and networks, one package at a time. The clusters
# of cmd/headway/e2e are apart from it, and spend half of their time waiting.
MACHINE := ./nodes/... ./proxy/...
APART = $(shell $(GO) list ./... | grep -vE '/(nodes|proxy)(/|$$)')

.PHONY: help
help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: up
up: deps build images ## install what the host lacks, build, and run a cluster here in the foreground (ARGS='--data-dir DIR …')
	@[ "$$(id -u)" = 0 ] || { echo "make up: run it as root: containers, networks and cgroups need it" >&2; exit 1; }
	exec $(BUILD)/headway up --images-dir $(abspath $(IMAGES)) $(ARGS)

.PHONY: deps
deps:
	@scripts/deps run

.PHONY: build
build: ## build build/headway
	CGO_ENABLED=0 $(GO) build -ldflags '$(LDFLAGS)' -o $(BUILD)/headway ./cmd/headway

.PHONY: images
images: $(IMAGES)/web.tar

$(IMAGES)/web.tar: $(wildcard examples/web/*.go examples/web/*/*.go)
	@mkdir -p $(IMAGES)
	for v in 1.0.0 1.1.0; do CGO_ENABLED=0 $(GO) build -ldflags "-s -w -X main.version=$$v" -o $(BUILD)/web-$$v ./examples/web; done
	$(GO) run ./examples/web/archive -o $@.tmp \
		headway.dev/examples/web:1.0.0=$(BUILD)/web-1.0.0 headway.dev/examples/web:1.1.0=$(BUILD)/web-1.1.0
	mv $@.tmp $@

# What npm installs for the tests of clients.
CLIENT := cmd/headway/e2e/testdata/javascript
.PHONY: javascript
javascript: $(BUILD)/javascript/node_modules/.package-lock.json

$(BUILD)/javascript/node_modules/.package-lock.json: $(CLIENT)/package.json $(CLIENT)/package-lock.json
	@mkdir -p $(BUILD)/javascript
	cp $^ $(BUILD)/javascript
	npm ci --prefix $(BUILD)/javascript --ignore-scripts --no-audit --no-fund
	touch $@

.PHONY: test
test: images ## run all tests; those that need root, containerd and iptables included
	@scripts/deps test
	@# Some distributions have no package of kubectl: the built-in one serves.
	@command -v kubectl >/dev/null || { $(MAKE) build && ln -sf headway $(BUILD)/kubectl; }
	@[ "$$(id -u)" = 0 ] || { echo "make test: run it as root: the tests start containers and change iptables" >&2; exit 1; }
	@# Both, also if the first one fails: a run that stops early hides what else is red.
	@status=0; set -x; \
	$(GO) test -race -shuffle=on -timeout 45m $(APART) || status=$$?; \
	$(GO) test -race -shuffle=on -timeout 30m -p 1 $(MACHINE) || status=$$?; \
	exit $$status

# How long the long form of the churn of pods lasts, and how many kills that of
# the crash suite makes.
CHURN ?= 10m
KILLS ?= 60
.PHONY: soak
soak: images ## random commits and failures on hollow nodes, then 400 pods (each for CHURN), then kill headway, containerd, shims and containers under load (KILLS times)
	HEADWAY_SOAK_HOLLOW=$(CHURN) $(GO) test -race -run TestSoakOnHollowNodes -count 1 -timeout 60m -v ./cmd/headway
	HEADWAY_SOAK_CHURN=$(CHURN) $(GO) test -race -run 'TestPodChurn$$' -count 1 -timeout 60m -v ./cmd/headway/e2e
	HEADWAY_SOAK_KILLS=$(KILLS) $(GO) test -run TestKillAnything -count 1 -timeout 120m -v ./cmd/headway/e2e
	$(GO) test -run TestMemoryOfLargeObjects -count 1 -timeout 30m -v ./cmd/headway/e2e

.PHONY: lint
lint: ## run the linters
	$(LINT) run

.PHONY: fmt
fmt: ## format the code
	$(LINT) fmt

.PHONY: check
check: lint ## lint, and check that go.mod is tidy
	$(GO) mod tidy -diff
	$(GO) mod verify

.PHONY: vuln
vuln: ## look for known vulnerabilities (reads the Go vulnerability database)
	$(GO) tool -modfile=tools/go.mod govulncheck ./...

.PHONY: fuzz
fuzz: ## fuzz everything that parses input, a minute each
	@$(GO) list -f '{{.ImportPath}}' ./... | while read -r pkg; do \
		$(GO) test -list '^Fuzz' "$$pkg" | { grep '^Fuzz' || true; } | while read -r name; do \
			echo "== $$pkg $$name"; $(GO) test -run '^$$' -fuzz "^$$name$$" -fuzztime 1m "$$pkg"; \
		done; \
	done

# Whole clusters and servers once an operation, the parts for as long as Go
# finds useful. BENCH selects benchmarks by a regular expression.
BENCH_COUNT ?= 3
BENCH ?= .
MEASURE = $(GO) test -run '^$$' -bench '$(BENCH)' -count $(BENCH_COUNT) -timeout 60m
SUMMARY = $(GO) tool -modfile=tools/go.mod benchstat $(BUILD)/bench.txt
.PHONY: bench
bench: images ## measure clusters and parts on this machine and print the table (BENCH_COUNT samples, BENCH regexp)
	@scripts/deps test && scripts/deps bench
	@mkdir -p $(BUILD) && rm -f $(BUILD)/bench.txt
	$(MAKE) bench-git BENCH='$(BENCH)' SUMMARY=@true
	$(MEASURE) -benchtime 1x ./cmd/headway/e2e | tee -a $(BUILD)/bench.txt
	$(MEASURE) ./engine/... ./manifests/... ./nodes/dns/... ./nodes/ingress/... ./nodes/policy ./proxy/... | tee -a $(BUILD)/bench.txt
	$(SUMMARY)

.PHONY: bench-git
bench-git: ## measure what is between a push and the store, plans, blame and fetches alone
	@mkdir -p $(BUILD) && rm -f $(BUILD)/bench.txt
	$(MEASURE) -benchtime 1x ./cmd/headway | tee -a $(BUILD)/bench.txt
	$(MEASURE) -benchtime 0.3s ./syncer/... | tee -a $(BUILD)/bench.txt
	$(SUMMARY)

.PHONY: cover
cover: images ## coverage of all tests
	$(GO) test -coverprofile=$(BUILD)/cover.out -coverpkg=./... -p 1 ./...
	$(GO) tool cover -func=$(BUILD)/cover.out | tail -1

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BUILD)
