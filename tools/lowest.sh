#!/usr/bin/env bash
# Try the lowest versions pyproject.toml allows: an environment of its own with exactly those, and the tests in it.
# Usage: tools/lowest.sh [PYTHON]   (Python 3.11: the oldest versions have no wheels for newer ones)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python="${1:-python3}"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

"$python" - > "$folder/lowest.txt" <<'PY'
import tomllib

project = tomllib.load(open("pyproject.toml", "rb"))["project"]
# Of the extras the one that all kinds of tests need; those of language models build theirs with later releases.
for line in project["dependencies"] + project["optional-dependencies"]["privacy"]:
    print(line.replace(">=", "=="))
PY
"$python" -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip install -q --disable-pip-version-check)
"${pip[@]}" -r "$folder/lowest.txt" pytest hypothesis PyYAML
"${pip[@]}" --no-deps .
"$folder/venv/bin/python" -m pip list --disable-pip-version-check | grep -i -E "torch|numpy|pandas|scipy|scikit-learn"
# The chapters and their tools are not part of the package. Old releases warn about things that later ones settled, so warnings do not count here.
OMP_NUM_THREADS=1 "$folder/venv/bin/python" -m pytest -q -W default \
    --ignore=tests/test_book.py --ignore=tests/book --ignore=tests/pages --ignore=tests/test_project.py \
    --ignore=tests/test_address.py --ignore=tests/test_colab.py --ignore=tests/test_contributing.py \
    --ignore=tests/test_workflows.py tests
