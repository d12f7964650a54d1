# make lab: open the course.  make test: check everything.  Both set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
SOLUTIONS := $(sort $(wildcard solutions/*.ipynb))

.PHONY: lab demo test test-fast notebooks lint clean

lab: $(VENV)/lab.stamp
	@echo "Opening the course in JupyterLab. Where no browser opens, copy the address below that starts with http://127.0.0.1"
	@echo "Ctrl-C twice ends it."
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/01_segmentation_types.ipynb $(LAB_OPTIONS)

demo: $(VENV)/lab.stamp
	$(BIN)/unet-lab demo --out runs/demo.png

test: $(VENV)/test.stamp lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -n 2
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --nbval-lax --nbval-cell-timeout=120 --durations=0 -p no:cacheprovider $(NOTEBOOKS)

test-fast: $(VENV)/test.stamp lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -n 2 -m "not slow and not real_data"

notebooks: $(VENV)/test.stamp
	$(BIN)/python -m tools.notebooks $(NOTEBOOKS) $(SOLUTIONS)
	$(BIN)/unet-lab release

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) runs

# A stamp is newer than pyproject.toml once its extras are installed, so a second call installs nothing.
$(VENV)/%.stamp: pyproject.toml
	@echo "Setting up $(VENV) with the '$*' extra. The first time takes some minutes."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	@touch $@
