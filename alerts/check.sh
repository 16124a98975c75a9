#!/bin/sh
# Check and test the rules, and the example for Alertmanager, with Prometheus' own tools; then lint them (lint.sh).
set -eu
cd "$(dirname "$0")"

promtool check rules --lint=all --lint-fatal rules/*.yml
promtool test rules tests/*.yml
amtool check-config alertmanager.yml
sh ./lint.sh
