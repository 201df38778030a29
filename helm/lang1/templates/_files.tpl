{{/* libpq's own variable, so that the URL need not name a path of the pods. */}}
{{- define "lang1.databaseCaEnvironment" -}}
{{- with .Values.database.ca }}
{{- if or .secretName .configMapName }}
- name: PGSSLROOTCERT
  value: /etc/lang1/database/{{ .key }}
{{- end }}
{{- end }}
{{- end }}

{{- define "lang1.databaseCaMount" -}}
{{- if include "lang1.databaseCaEnvironment" . }}
- name: database-ca
  mountPath: /etc/lang1/database
  readOnly: true
{{- end }}
{{- end }}

{{- define "lang1.databaseCaVolume" -}}
{{- with .Values.database.ca }}
{{- if .secretName }}
- name: database-ca
  secret:
    secretName: {{ .secretName }}
    defaultMode: 0440
    items:
      - key: {{ .key }}
        path: {{ .key }}
{{- else if .configMapName }}
- name: database-ca
  configMap:
    name: {{ .configMapName }}
    defaultMode: 0440
    items:
      - key: {{ .key }}
        path: {{ .key }}
{{- end }}
{{- end }}
{{- end }}

{{/* Files of settings, as whole volumes and never by subPath: a key that was changed in the Secret must reach the service,
     which reads it again. The workers have both kinds; the head, where the application may be built, ConfigMaps alone. */}}
{{- define "lang1.secretMounts" -}}
{{- range $i, $file := .Values.secretFiles }}
- name: secret-files-{{ $i }}
  mountPath: /etc/lang1/secrets/{{ $file.secretName }}
  readOnly: true
{{- end }}
{{- end }}

{{- define "lang1.configMounts" -}}
{{- range $i, $file := .Values.configFiles }}
- name: config-files-{{ $i }}
  mountPath: /etc/lang1/config/{{ $file.configMapName }}
  readOnly: true
{{- end }}
{{- end }}

{{- define "lang1.secretVolumes" -}}
{{- range $i, $file := .Values.secretFiles }}
- name: secret-files-{{ $i }}
  secret:
    secretName: {{ $file.secretName }}
    # Of root and the pod's group (fsGroup).
    defaultMode: 0440
    {{- include "lang1.fileKeys" $file | nindent 4 }}
{{- end }}
{{- end }}

{{- define "lang1.configVolumes" -}}
{{- range $i, $file := .Values.configFiles }}
- name: config-files-{{ $i }}
  configMap:
    name: {{ $file.configMapName }}
    defaultMode: 0440
    {{- include "lang1.fileKeys" $file | nindent 4 }}
{{- end }}
{{- end }}

{{- define "lang1.fileKeys" -}}
{{- with get . "keys" -}}
items:
  {{- range . }}
  - key: {{ . }}
    path: {{ . }}
  {{- end }}
{{- end }}
{{- end }}
