#!/usr/bin/env bash
# mutmut: a mutant of a function that only a shared fixture calls is tested with one of the tests that need the fixture.
#
# mutmut notes which functions each test calls, and tries a mutant on the tests that called its function. A fixture of scope
# session or module is set up once, so its calls count for the first test only. The other tests, which look at what the
# fixture made and would fail, are not run: the mutant is reported as surviving. With scope="function" it is killed.
# Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install mutmut==3.8.1 pytest==9.2.0 coverage==7.17.3
cat > "$folder/look.sh" <<'SHELL'
set -euo pipefail
mkdir -p src/lengths tests
cat > src/lengths/__init__.py <<'PYTHON'
def total(widths):
    return sum(widths) + 1
PYTHON
cat > tests/test_lengths.py <<PYTHON
import pytest
from lengths import total


@pytest.fixture(scope="$1")
def made():
    return total([2, 3])


def test_it_is_positive(made):
    assert made > 0


def test_it_has_a_margin(made):
    assert made == 6
PYTHON
printf '[tool.mutmut]\nsource_paths = ["src"]\nuse_git_change_detection = false\n' > pyproject.toml
python -m mutmut run --max-children 1 > log 2>&1 || { cat log; exit 1; }
python -m mutmut results --all true
SHELL
for scope in session function; do
  mkdir "$folder/$scope"
  (cd "$folder/$scope" && PATH="$folder/venv/bin:$PATH" bash "$folder/look.sh" "$scope" > ../"$scope.results")
  echo "scope=$scope, mutmut 3.8.1:"
  cat "$folder/$scope.results"
done
grep -q survived "$folder/session.results"
if grep -q survived "$folder/function.results"; then exit 1; fi
echo "the test that would fail is not run for a mutant in what a session fixture made"
