# Every target explains itself: run make.

BIN      := bin/multihead
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LINT_VER := v2.15.0
LINT     := bin/tools/golangci-lint-$(LINT_VER)
GOFILES  := $(shell find cmd internal -name '*.go' -o -name '*.tmpl' -o -name '*.conf' -o -name '*.sh' -o -name '*.tsv' 2>/dev/null)
LAB      := demo
LABLOG   := /var/tmp/multihead-test
LABS     := 2

export CGO_ENABLED = 0

.DEFAULT_GOAL := help

.PHONY: help
help: ## show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: $(BIN) ## build bin/multihead, one static binary

$(BIN): $(GOFILES) go.mod go.sum
	go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/multihead

.PHONY: demo
demo: build lab-setup ## on a lab of 4 heads and 2 compute nodes: form the cluster and use it
	bash examples/demo.sh $(BIN) $(LAB)

.PHONY: demo-down
demo-down: build ## remove the lab that make demo left running
	$(BIN) lab down --name $(LAB)

.PHONY: lab-setup
lab-setup: build ## install what the lab needs from the distribution (needs root)
	$(BIN) lab setup

.PHONY: test
test: export MULTIHEAD_SKIP_NOTHING = 1
test: build lint lab-setup test-unit test-lab ## everything: lint, unit tests, end-to-end tests on the lab (needs root)

.PHONY: test-unit
test-unit: ## unit tests only: under two minutes, no root
	go test ./...

.PHONY: test-race
test-race: ## unit tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race ./internal/... ./cmd/...

.PHONY: test-lab
test-lab: build lab-setup ## end-to-end tests on the lab only (needs root)
	@# LABS tests at a time, of about 2 GB of memory each.
	@# Shown are the tests and what failed; all that they said is in $(LABLOG), and the
	@# last words of the labs they failed in beside it.
	@rm -rf $(LABLOG) && mkdir -p $(LABLOG)
	@bash -o pipefail -c 'MULTIHEAD_BIN=$(CURDIR)/$(BIN) MULTIHEAD_LABLOG=$(LABLOG) go test -tags lab -count=1 -p 1 -parallel $(LABS) -timeout 80m -v ./test/... ./internal/lab/... ./internal/host/remote/... 2>&1 | tee $(LABLOG)/log | grep --line-buffered -E "^(=== RUN|ok|FAIL|PASS|panic:)|^ *--- |^\?"' || \
		{ printf '\n%s\n' "What failed (all of it: $(LABLOG)):"; awk -f test/failed.awk $(LABLOG)/log; exit 1; }

.PHONY: soak
soak: build lab-setup ## kill the tool at every single step of a bootstrap (needs root, takes hours: one cluster through all of them, and one for each)
	MULTIHEAD_BIN=$(CURDIR)/$(BIN) MULTIHEAD_KILL_AT=all go test -tags lab -count=1 -timeout 12h -v -run 'TestKilled' ./test/...

.PHONY: bench
bench: build lab-setup ## compare with what a person would do by hand, in the same run (needs root)
	bash bench/run.sh $(BIN)

.PHONY: fuzz
fuzz: ## let every fuzz target run for a while
	@set -e; for pkg in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime 20s $$pkg; \
		done; \
	done

.PHONY: lint
lint: $(LINT) ## gofmt, vet and golangci-lint
	@test -z "$$(gofmt -l cmd internal test)" || { gofmt -l cmd internal test; echo "run: gofmt -w"; exit 1; }
	$(LINT) run --timeout 10m ./...

$(LINT):
	mkdir -p bin/tools
	GOBIN=$(CURDIR)/bin/tools go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VER)
	mv bin/tools/golangci-lint $@

.PHONY: man
man: build ## man pages and shell completions into dist/
	$(BIN) docs dist/man
	mkdir -p dist/completions
	$(BIN) completion bash > dist/completions/multihead.bash
	$(BIN) completion zsh > dist/completions/_multihead
	$(BIN) completion fish > dist/completions/multihead.fish

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
