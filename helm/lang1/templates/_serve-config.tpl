{{/* Arguments of serve.app:build_app: settings of the service. The address in them is the one that Ray Serve listens on
     (http_options below), always: the service judges this one, and would not see another. */}}
{{- define "lang1.builderArgs" -}}
{{- $bundle := ternary (printf "/bundles/%s" (.Values.bundle.path | trimPrefix "/")) "" (ne .Values.bundle.existingClaim "") -}}
{{- $args := deepCopy .Values.settings -}}
{{- $_ := set $args "host" (include "lang1.listenHost" .) -}}
{{- $_ := set $args "port" (include "lang1.ports" . | fromYaml).serve -}}
{{- $_ := set $args "state_dir" "/var/lib/lang1/state" -}}
{{- $_ := set $args "metrics_dir" "/tmp/lang1-metrics" -}}
{{- $_ := set $args "ingress_replicas" .Values.replicas.http -}}
{{- $_ := set $args "store_replicas" .Values.replicas.store -}}
{{- $_ := set $args "scorer_replicas" .Values.replicas.scorer -}}
{{- $_ := set $args "scorer_cpus" .Values.scorer.cpus -}}
{{- $_ := set $args "scorer_gpus" .Values.scorer.gpus -}}
{{- $_ := set $args "num_threads" .Values.scorer.threads -}}
{{- if $bundle }}{{ $_ := set $args "bundle" $bundle }}{{ end -}}
{{- with include "lang1.publicBaseUrl" . }}{{ $_ := set $args "public_base_url" . }}{{ end -}}
{{- /* Helm drops a null that a values file gives, in some versions: the way to say it is replicas.monitor. */ -}}
{{- if not (include "lang1.monitors" .) }}{{ $_ := set $args "monitor_every_s" nil }}{{ end -}}
{{ toYaml $args }}
{{- end }}

{{- define "lang1.serveConfig" -}}
proxy_location: EveryNode
http_options:
  host: {{ include "lang1.listenHost" . }}
  port: {{ (include "lang1.ports" . | fromYaml).serve }}
  request_timeout_s: null
logging_config:
  encoding: JSON
  enable_access_log: false
applications:
  - name: lang1
    route_prefix: /
    import_path: serve.app:build_app
    args:
      {{- include "lang1.builderArgs" . | nindent 6 }}
    {{- with .Values.scorer.autoscaling }}
    {{- if .enabled }}
    deployments:
      - name: Scorer
        num_replicas: auto
        autoscaling_config:
          min_replicas: {{ .minReplicas }}
          max_replicas: {{ .maxReplicas }}
          initial_replicas: {{ $.Values.replicas.scorer }}
          target_ongoing_requests: {{ .targetOngoingRequests }}
    {{- end }}
    {{- end }}
{{- end }}
