{{- define "queuemedic.name" -}}
{{- $name := .Chart.Name -}}
{{- if contains $name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}{{ end -}}
{{- end -}}

{{- define "queuemedic.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "queuemedic.labels" -}}
{{ include "queuemedic.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The configuration, with the port that the chart knows; it fails where healing has no ledger that all share. */}}
{{- define "queuemedic.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $heals := false -}}
{{- range $name, $queue := $config.queues -}}
{{- $mode := dig "healing" "mode" "disabled" $queue -}}
{{- if ne $mode "disabled" }}{{ $heals = true }}{{ end -}}
{{- end -}}
{{- if and $heals (not $config.ledger) -}}
{{- fail "config.ledger: a queue heals, so name a ledger on PostgreSQL or MariaDB: {url_file: /run/secrets/queuemedic/ledger_url}" -}}
{{- end -}}
{{- if contains "sqlite:" (toJson (default "" $config.ledger)) -}}
{{- fail "config.ledger: a pod keeps no file, and several cannot share one; name a ledger on PostgreSQL or MariaDB" -}}
{{- end -}}
{{- $_ := set $config "web" (merge (dict "listen" (printf ":%d" (int .Values.service.port))) (default dict $config.web)) -}}
{{- toYaml $config -}}
{{- end -}}
