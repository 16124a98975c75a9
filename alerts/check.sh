#!/bin/sh
# Check and test the rules, and the example for Alertmanager, with Prometheus' own tools; pint too where it is installed.
set -eu
cd "$(dirname "$0")"

promtool check rules --lint=all --lint-fatal rules/*.yml
promtool test rules tests/*.yml
amtool check-config alertmanager.yml
if command -v pint >/dev/null; then
    pint --offline lint --min-severity=info --fail-on=warning rules
fi
