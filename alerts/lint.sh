#!/bin/sh
# Lint the rules with pint, in the version that pint/go.mod pins and pint/go.sum holds to its checksums.
#
# It is built once for each version, into the user's cache folder. Without Go, which builds it, nothing is linted: that
# is said, and is no fault; `make test` does not need it.
set -eu
cd "$(dirname "$0")"

go=$(command -v go || command -v /usr/local/go/bin/go) || {
    echo "pint: SKIPPED: Go is not installed, so the rules were not linted"
    exit 0
}
digest=$(cat pint/go.mod pint/go.sum | sha256sum | cut -c1-8)
pint=${XDG_CACHE_HOME:-$HOME/.cache}/queuemedic-lab/pint-$digest
if [ ! -x "$pint" ]; then
    began=$(date +%s)
    mkdir -p "$(dirname "$pint")"
    GOFLAGS=-mod=readonly GOWORK=off "$go" build -C pint -trimpath -o "$pint.$$" github.com/cloudflare/pint/cmd/pint
    mv "$pint.$$" "$pint"
    echo "pint: built in $(($(date +%s) - began)) s"
fi
"$pint" --no-color --log-level=warn --config pint/config.hcl --offline lint --min-severity=info --fail-on=info rules
echo "pint $(sed -n 's|.*github.com/cloudflare/pint v||p' pint/go.mod | cut -d' ' -f1): nothing to report"
