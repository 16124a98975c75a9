#!/bin/sh
# Build what is released into dist/, or the folder that is named: the sdist, the wheel made of that sdist alone, the
# chart where helm is (tools.sh installs it), and the checksums of all. The version is that of pyproject.toml.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-dist}
python=${BUILDER:-$PWD/.venv/bin/python} # with hatchling

version=$("$python" -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')
newest=$(sed -n 's/^## \[\([^]]*\)\].*/\1/p' CHANGELOG.md | head -n 1)
case $newest in
    "$version") ;;
    Unreleased) echo "CHANGELOG.md: what is new is still Unreleased; give it the heading [$version] and a date" >&2 ;;
    *)
        echo "CHANGELOG.md: is about $newest, and this is $version" >&2
        exit 1
        ;;
esac

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
rm -f "$folder"/queuemedic-* "$folder/SHA256SUMS"
# So that the same commit always gives the same files.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m hatchling build --target sdist --directory "$folder" >/dev/null 2>&1
tar -xzf "$folder/queuemedic-$version.tar.gz" -C "$work"
(cd "$work/queuemedic-$version" && "$python" -m hatchling build --target wheel --directory "$folder" >/dev/null 2>&1)

helm=$(sh deploy/tools.sh --where)/bin/helm
if [ -x "$helm" ]; then
    # The links to rules and dashboards become files; what helm says of them is left out.
    "$helm" package deploy/kubernetes/queuemedic --destination "$work/chart" >"$work/told" 2>&1 || {
        cat "$work/told" >&2
        exit 1
    }
    mv "$work/chart/queuemedic-$version.tgz" "$folder/queuemedic-chart-$version.tgz"
else
    echo "chart: SKIPPED: helm is not installed; run sh deploy/tools.sh" >&2
fi
cd "$folder"
sha256sum queuemedic-* >SHA256SUMS
cat SHA256SUMS
