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

{{- define "lang1.authenticates" -}}
{{- if eq (index .Chart.Annotations "lang1/service-authentication") "true" }}true{{ end }}
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
