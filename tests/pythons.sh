#!/bin/sh
# Run the unit tests against the built wheel on each supported Python that is installed here; say which is not. That of
# `make test` is left out: it has run them.
set -eu
project=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$project/.venv/bin/python" -m hatchling build --target wheel --directory "$work/dist" >/dev/null
# Away from the sources, so that what is imported is what was installed.
(cd "$project" && cp -R alerts bench dashboards deploy tests docs README.md CHANGELOG.md LICENSE Makefile pyproject.toml "$work/")
cd "$work"
tested=$("$project/.venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
for version in 3.11 3.12 3.13; do
    [ "$version" != "$tested" ] || continue
    for python in "python$version" "$HOME/.pyenv/versions/$version".*/bin/python; do
        "$python" -m venv ".venv-$version" >/dev/null 2>&1 && break
    done
    if [ ! -d ".venv-$version" ]; then
        echo "Python $version: not installed here, skipped"
        continue
    fi
    pip=".venv-$version/bin/pip"
    "$pip" install --quiet --disable-pip-version-check --require-hashes --requirement "$project/requirements-dev.txt"
    "$pip" install --quiet --disable-pip-version-check --no-deps dist/*.whl
    echo "Python $version:"
    ".venv-$version/bin/pytest" --quiet --numprocesses 2 -m "not long" tests/unit
done
