# What can be run here: make help. Each target is a script, which says more with --help.

.PHONY: help build test ci vet lint demo bench rooms rows soak mutants attack crash cluster netns newcomer proof release full embedder docs

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1 — /p' Makefile

build: ## the program, into bin/
	go build -o bin/ ./cmd/wasmhost

test: ## every test of every package, with Go alone
	scripts/test

ci: ## what every change must pass: about half an hour
	.ci/run

vet: ## go vet, with and without the cluster engine
	go vet ./... && go vet -tags noetcd ./cmd/wasmhost ./node

lint: ## staticcheck
	go tool -modfile=scripts/tools/go.mod staticcheck ./...

demo: ## two nodes, an upload, a daemon that moves
	scripts/demo

docs: ## write the pages that are made of the code
	go test . -run 'LimitsPage|ErrorsPage' -update && go test ./cmd/wasmhost/cli -run ConfigPage -update-pages

bench: ## measurements beside other systems
	scripts/bench/run

rooms: ## sizes and imports of packages
	scripts/rooms

rows: ## which test shows which behaviour
	scripts/rows

soak: ## random stories of nodes that crash
	scripts/soak

mutants: ## break the code, and see that a test finds it
	scripts/mutants

attack: ## guests, loads and peers that mean harm
	scripts/attack

crash: ## nodes that are killed at random
	scripts/crash

cluster: ## a cluster whose nodes are killed
	scripts/cluster

netns: ## bad links between nodes (root)
	scripts/netns

newcomer: ## a first daemon in every language
	scripts/newcomer

proof: ## guests that move between 100,000 events
	scripts/proof

release: ## what a release holds, into dist/
	scripts/release

embedder: ## a module outside this one that embeds it
	scripts/embedder

full: ## what takes longer than CI may
	scripts/full
