#!/usr/bin/env bash
# Test the wheel, not the checkout: build it, install it into a fresh environment, and run the quick tests from a folder without sources.
# PYTHON is the interpreter of that environment (python3).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

"${PYTHON:-python3}" -m venv "$place/venv"
bin="$place/venv/bin"
"$bin/python" -m pip install --quiet --disable-pip-version-check build
"$bin/python" -m build --wheel --outdir "$place/dist" "$root" >"$place/build.log" 2>&1 || { cat "$place/build.log" >&2; exit 1; }
wheel=$(echo "$place"/dist/*.whl)
"$bin/python" -m pip install --quiet --disable-pip-version-check --only-binary numpy,scipy,scikit-learn,pandas "$wheel[dev]"

# Tests look at files beside the packages, which are links to the installed ones here: nothing of the source can be imported.
installed=$("$bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir "$place/checkout"
for entry in "$root"/* "$root"/.ci; do
    name=$(basename "$entry")
    case "$name" in
        registry | trainer | gateway) ln -s "$installed/$name" "$place/checkout/$name" ;;
        dist | build) ;;
        *) cp -r "$entry" "$place/checkout/$name" ;;
    esac
done
cd "$place/checkout"
"$bin/python" -c "
import gateway, registry, trainer
for package in (gateway, registry, trainer):
    assert package.__path__[0].startswith(('$installed', '$place/checkout')), package.__path__
"
"$bin/python" -m pytest --quick -n "${WORKERS:-2}" -p no:cacheprovider
