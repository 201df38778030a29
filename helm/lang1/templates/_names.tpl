{{- define "lang1.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "lang1.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Labels of a pod and of what selects it: (list $ COMPONENT). Nothing that a release changes, or KubeRay would see
     another cluster at each upgrade of the chart. */}}
{{- define "lang1.podLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- with index . 1 }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* (list $ .Values.image) */}}
{{- define "lang1.image" -}}
{{- $root := index . 0 }}{{ $image := index . 1 -}}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}
{{- else }}{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* Whether the settings prove who calls, as the service's own AuthSettings.authenticates. */}}
{{- define "lang1.authenticates" -}}
{{- $s := .Values.settings -}}
{{- if or (get $s "auth_issuers") (get $s "cds_clients") (get $s "oidc_issuer") }}true{{ end }}
{{- end }}

{{/* URL of /fhir as clients call it; empty where nothing says. */}}
{{- define "lang1.publicBaseUrl" -}}
{{- $ingress := .Values.exposure.ingress -}}
{{- with get .Values.settings "public_base_url" }}{{ . }}
{{- else }}{{ if $ingress.enabled }}https://{{ $ingress.host }}/fhir{{ end }}
{{- end }}
{{- end }}

{{- define "lang1.writesBack" -}}
{{- if ne (get .Values.settings "sink" | default "none") "none" }}true{{ end }}
{{- end }}

{{- define "lang1.monitors" -}}
{{- $s := .Values.settings -}}
{{- if and .Values.replicas.monitor (not (and (hasKey $s "monitor_every_s") (kindIs "invalid" $s.monitor_every_s))) }}true{{ end }}
{{- end }}

{{/* How many deployments of one process each there are: what fetches, what writes back, what monitors. */}}
{{- define "lang1.loops" -}}
{{- $s := .Values.settings -}}
{{- $fetches := or (get $s "notifications") (get $s "poll_every_s") -}}
{{- add (ternary 1 0 (not (empty $fetches))) (ternary 1 0 (include "lang1.writesBack" . | eq "true")) (ternary 1 0 (include "lang1.monitors" . | eq "true")) }}
{{- end }}

{{/* URLs, one a line, from which keys are taken. */}}
{{- define "lang1.issuerUrls" -}}
{{- range concat (get .Values.settings "auth_issuers" | default list) (get .Values.settings "cds_clients" | default list) }}
{{- with get . "jwks_url" }}
{{ . }}
{{- end }}
{{- end }}
{{- with get .Values.settings "oidc_issuer" }}
{{ . }}
{{- end }}
{{- end }}

{{/* URLs, one a line, at which the FHIR server, its token endpoint and its bulk files are. */}}
{{- define "lang1.fhirUrls" -}}
{{- $s := .Values.settings -}}
{{- range concat (list (get $s "fhir_base_url") (get $s "ehr_token_url")) (get $s "ehr_bulk_hosts" | default list) }}
{{- with . }}
{{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* TCP ports of URLs that stand one a line, each once, as a list under `ports`. */}}
{{- define "lang1.portsOf" -}}
{{- $numbers := list -}}
{{- range splitList "\n" (trim .) }}
{{- $url := urlParse . }}
{{- $default := ternary "443" "80" (eq (lower $url.scheme) "https") }}
{{- $numbers = append $numbers (regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default $default | int) }}
{{- end }}
{{- $ports := list }}
{{- range $numbers | uniq }}{{ $ports = append $ports (dict "port" .) }}{{ end }}
{{- dict "ports" $ports | toYaml }}
{{- end }}

{{- define "lang1.listenHost" -}}
{{- if .Values.exposure.enabled }}0.0.0.0{{ else }}127.0.0.1{{ end }}
{{- end }}

{{- define "lang1.stateClaim" -}}
{{ .Values.database.persistence.existingClaim | default (printf "%s-state" (include "lang1.fullname" .)) }}
{{- end }}

{{/* Ports that the pods open. Ray picks free ones unless told, and a NetworkPolicy needs to know. */}}
{{- define "lang1.ports" -}}
serve: 8000
gcs: 6379
dashboard: 8265
nodeManager: 6380
objectManager: 6381
runtimeEnvAgent: 6382
dashboardAgentGrpc: 6383
dashboardAgentHttp: 52365
rayMetrics: 8080
workerFirst: 10002
workerLast: 10999
{{- end }}

{{- define "lang1.policyPorts" -}}
{{- range . }}
- port: {{ .port }}
  {{- with .endPort }}
  endPort: {{ . }}
  {{- end }}
  protocol: {{ .protocol | default "TCP" }}
{{- end }}
{{- end }}

{{/* Annotations of what the migration needs: WEIGHT. What failed stays to be read until the next try. */}}
{{- define "lang1.hook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
