# How pint lints alerts/rules: `alerts/lint.sh`. Without a server (--offline), since the rules are for anybody's.
#
# Not run, because they ask a Prometheus that scrapes Queuemedic: alerts/absent, alerts/count, alerts/external_labels,
# labels/conflict, promql/counter, promql/features, promql/offset, promql/range_query, promql/rate, promql/series,
# promql/vector_matching, query/cost, rule/duplicate. tests/rules/test_pairs.py holds metrics, labels and vectors to
# the program's own catalogue instead.
# Switched off for one place, beside it in the rules: promql/regexp for `up{job=~".*queuemedic.*"}`, since how the job is
# named is up to whoever scrapes it.

rule {
  match {
    kind = "alerting"
  }

  name "Queuemedic[A-Z].+" {
    severity = "bug"
  }
  label "severity" {
    severity = "bug"
    required = true
    values   = ["critical", "warning", "info"]
  }
  annotation "summary" {
    severity = "bug"
    required = true
    value    = "[^{]+[.]"
  }
  annotation "description" {
    severity = "bug"
    required = true
  }
  annotation "runbook_url" {
    severity = "bug"
    required = true
    value    = "docs/runbooks/{{ $alert }}[.]md"
  }
  annotation "dashboard_url" {
    severity = "bug"
    required = true
    value    = "/d/queuemedic-.+"
  }
}

# What two instances say of one queue must not count twice.
rule {
  match {
    kind = "recording"
  }

  name "queue(_host)?:queuemedic_.+:.+" {
    severity = "bug"
  }
  aggregate ".+" {
    severity = "bug"
    strip    = ["instance", "pod"]
  }
}
