# Every target sets itself up in .venv; the second time that is instant.
PYTHON ?= python3
BIN := .venv/bin
ROOT_FLAG := $(shell [ "$$(id -u)" = 0 ] && echo --allow-root)
LAB_ARGS ?=
LAB_ROOT ?= $(CURDIR)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: lab test demo notebooks audit fix clean

lab: .venv/ready            ## open JupyterLab on lesson 01
	$(BIN)/jupyter lab --ServerApp.root_dir="$(LAB_ROOT)" --LabApp.default_url=/lab/tree/notebooks/01_patchify.ipynb $(ROOT_FLAG) $(LAB_ARGS)

test: .venv/ready           ## everything that must pass
	$(BIN)/python -m tests.everything

demo: .venv/ready           ## grade a sample class end to end
	$(BIN)/grader demo

notebooks: .venv/ready      ## rebuild the notebooks and the page of evidence
	$(BIN)/grader build
	$(BIN)/python -m experiments.evidence

audit: .venv/ready          ## test the tests
	$(BIN)/grader audit

fix: .venv/ready            ## format and lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@echo "Setting up .venv: about three minutes the first time, most of it torch"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --progress-bar on -c constraints.txt -e ".[lab,grader,test]"
	@touch $@

clean:                      ## remove what the build made
	rm -rf build
