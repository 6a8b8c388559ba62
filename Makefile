.PHONY: quality style types test slow campaign docs

export OMP_NUM_THREADS ?= 1

quality:
	ruff check .
	ruff format --check .

style:
	ruff check --fix .
	ruff format .

types:
	basedpyright

test:
	python -m pytest -n auto -m "not slow"

slow:
	python -m pytest -m slow

campaign:
	python -m pytest -n auto --dist loadfile tests/campaign

docs:
	mkdocs build --strict
