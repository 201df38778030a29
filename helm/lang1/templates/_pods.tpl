{{- define "lang1.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ .Values.podSecurity.userId }}
runAsGroup: {{ .Values.podSecurity.groupId }}
fsGroup: {{ .Values.podSecurity.groupId }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "lang1.containerSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ .Values.podSecurity.userId }}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* (dict "cpu" "memory" "ephemeralStorage" "gpus"): the same request and limit, as KubeRay tells Ray the limits. */}}
{{- define "lang1.resources" -}}
{{- range $kind := list "requests" "limits" }}
{{ $kind }}:
  cpu: {{ $.cpu | int | quote }}
  memory: {{ $.memory }}
  ephemeral-storage: {{ $.ephemeralStorage }}
  {{- if $.gpus }}
  nvidia.com/gpu: {{ $.gpus | int | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Variables that Ray must be started with; the file is made from serve/ray_environment.py. */}}
{{- define "lang1.environment" -}}
{{ .Files.Get "files/ray-environment.yaml" | trim }}
- name: HOME
  value: /tmp
{{- end }}

{{/* (list $ SECRETNAME SECRETKEY) */}}
{{- define "lang1.databaseUrl" -}}
- name: LANG1_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
{{- end }}

{{- define "lang1.databaseEnvironment" -}}
{{- if eq .Values.database.kind "postgresql" }}
{{- include "lang1.databaseUrl" (list . .Values.database.secretName .Values.database.secretKey) }}
{{- end }}
{{- end }}

{{- define "lang1.scratchVolumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
- name: ray-logs
  emptyDir:
    sizeLimit: {{ .Values.ray.logSize }}
- name: spill
  emptyDir:
    medium: Memory
    sizeLimit: {{ .Values.ray.spillSize }}
{{- end }}

{{- define "lang1.scratchMounts" -}}
- name: tmp
  mountPath: /tmp
- name: ray-logs
  mountPath: /tmp/ray
- name: spill
  mountPath: /spill
{{- end }}

{{/* ray start options of every pod. */}}
{{- define "lang1.rayStartParams" -}}
{{- $ports := include "lang1.ports" . | fromYaml -}}
node-manager-port: {{ $ports.nodeManager | quote }}
object-manager-port: {{ $ports.objectManager | quote }}
runtime-env-agent-port: {{ $ports.runtimeEnvAgent | quote }}
dashboard-agent-grpc-port: {{ $ports.dashboardAgentGrpc | quote }}
dashboard-agent-listen-port: {{ $ports.dashboardAgentHttp | quote }}
metrics-export-port: {{ $ports.rayMetrics | quote }}
min-worker-port: {{ $ports.workerFirst | quote }}
max-worker-port: {{ $ports.workerLast | quote }}
object-store-memory: {{ mul .Values.ray.objectStoreMiB 1048576 | toString | quote }}
object-spilling-directory: /spill
{{- end }}

{{- define "lang1.headStartParams" -}}
{{- $ports := include "lang1.ports" . | fromYaml -}}
port: {{ $ports.gcs | quote }}
dashboard-port: {{ $ports.dashboard | quote }}
# The operator deploys through it: every address, behind the token and the NetworkPolicy.
dashboard-host: 0.0.0.0
{{ include "lang1.rayStartParams" . }}
{{- end }}

{{- define "lang1.headPorts" -}}
{{- $ports := include "lang1.ports" . | fromYaml -}}
- name: gcs-server
  containerPort: {{ $ports.gcs }}
- name: dashboard
  containerPort: {{ $ports.dashboard }}
- name: metrics
  containerPort: {{ $ports.rayMetrics }}
{{- end }}

{{/* Ray's own answer whether this pod's Ray is well. Not /livez, which any pod's replica may answer: it would restart
     this pod for the trouble of another. */}}
{{- define "lang1.rayProbes" -}}
{{- $port := (include "lang1.ports" . | fromYaml).dashboardAgentHttp -}}
livenessProbe:
  httpGet:
    path: /api/healthz
    port: {{ $port }}
  initialDelaySeconds: 30
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 12
{{- end }}

{{/* (list $ PATH): a GET through this pod's own proxy, which listens on loopback, where the kubelet cannot ask. */}}
{{- define "lang1.askService" -}}
{{- $port := (include "lang1.ports" (index . 0) | fromYaml).serve -}}
exec:
  command:
    - /bin/bash
    - -c
    - >-
      exec 3<>/dev/tcp/127.0.0.1/{{ $port }} &&
      printf 'GET {{ index . 1 }} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' >&3 &&
      read -r _ status _ <&3 && [ "$status" = 200 ]
{{- end }}

{{- define "lang1.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "lang1.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}
