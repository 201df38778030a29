{{/* Settings that the service refuses one without the other: better now than in a pod's log. */}}
{{- define "lang1.settingsChecks" -}}
{{- $s := .Values.settings -}}
{{- $needs := dict
  "oidc_issuer" (list "oidc_client_id" "oidc_allowed_groups" "session_key_file")
  "ehr_client_id" (list "ehr_key_file" "fhir_base_url")
  "ehr_key_file" (list "ehr_client_id")
  "ehr_tls_key_file" (list "ehr_tls_cert_file")
  "notifications" (list "fhir_base_url")
  "poll_every_s" (list "fhir_base_url") -}}
{{- range $setting, $others := $needs }}
{{- if get $s $setting }}
{{- range $others }}
{{- if not (get $s .) }}
{{- fail (printf "settings.%s needs settings.%s; set both or neither" $setting .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if and (include "lang1.writesBack" .) (not (get $s "fhir_base_url")) }}
{{- fail "settings.sink needs settings.fhir_base_url, the server that is written to; set it, or settings.sink to none" }}
{{- end }}
{{- $public := include "lang1.publicBaseUrl" . -}}
{{- if and (get $s "oidc_issuer") .Values.exposure.enabled (not (hasPrefix "https://" $public)) }}
{{- fail "settings.public_base_url is not https, and with settings.oidc_issuer a login would cross the network open; set settings.public_base_url to an https URL" }}
{{- end }}
{{- if and (eq (int .Values.replicas.monitor) 0) (get $s "monitor_every_s") }}
{{- fail "settings.monitor_every_s is set but replicas.monitor is 0; set replicas.monitor to 1, or leave settings.monitor_every_s out" }}
{{- end }}
{{- end }}

{{/* Files that settings name must be ones that the chart mounts. */}}
{{- define "lang1.fileChecks" -}}
{{- $v := .Values -}}
{{- range $value, $field := dict "secretFiles" "secretName" "configFiles" "configMapName" }}
{{- $names := list }}
{{- range get $v $value }}
{{- if has (get . $field) $names }}
{{- fail (printf "%s: %s is there twice; join its keys in one entry" $value (get . $field)) }}
{{- end }}
{{- $names = append $names (get . $field) }}
{{- end }}
{{- end }}
{{- range $setting, $path := $v.settings }}
{{- if and (hasSuffix "_file" $setting) $path }}{{ include "lang1.fileCheck" (list $ $setting $path) }}{{ end }}
{{- end }}
{{- range $setting := list "auth_issuers" "cds_clients" }}
{{- range $i, $place := get $v.settings $setting | default list }}
{{- with get $place "jwks_file" }}{{ include "lang1.fileCheck" (list $ (printf "%s[%d].jwks_file" $setting $i) .) }}{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{/* (list $ SETTING PATH) */}}
{{- define "lang1.fileCheck" -}}
{{- $v := (index . 0).Values }}{{ $setting := index . 1 }}{{ $path := index . 2 }}
{{- $isSecret := has $setting (list "ehr_key_file" "ehr_tls_key_file" "session_key_file" "oidc_client_secret_file" "notification_secret_file") }}
{{- $parts := regexSplit "/" $path -1 }}
{{- if and (eq $setting "outcome_mapping_file") (not (hasPrefix "/etc/lang1/config/" $path)) }}
{{- fail (printf "settings.%s: %s is not on the head, where the settings are read first; mount it by configFiles and name it /etc/lang1/config/CONFIGMAPNAME/KEY" $setting $path) }}
{{- end }}
{{- $value := "" }}{{ $field := "" }}
{{- if regexMatch "^/etc/lang1/secrets/[a-z0-9][-a-z0-9.]*/[-._a-zA-Z0-9]+$" $path }}
{{- $value = "secretFiles" }}{{ $field = "secretName" }}
{{- else if regexMatch "^/etc/lang1/config/[a-z0-9][-a-z0-9.]*/[-._a-zA-Z0-9]+$" $path }}
{{- if $isSecret }}
{{- fail (printf "settings.%s is a secret, and a ConfigMap is read by many; put it in a Secret of secretFiles and name it /etc/lang1/secrets/SECRETNAME/KEY" $setting) }}
{{- end }}
{{- $value = "configFiles" }}{{ $field = "configMapName" }}
{{- else if and $v.bundle.existingClaim (not $isSecret) (regexMatch "^/bundles/[^/]" $path) (not (has ".." $parts)) }}
{{- else }}
{{- fail (printf "settings.%s: %s is no file of the pods; mount it by secretFiles as /etc/lang1/secrets/SECRETNAME/KEY%s" $setting $path (ternary "" ", or by configFiles as /etc/lang1/config/CONFIGMAPNAME/KEY" $isSecret)) }}
{{- end }}
{{- if $value }}
{{- $found := false }}
{{- range get $v $value }}
{{- if and (eq (get . $field) (index $parts 4)) (or (not (get . "keys")) (has (index $parts 5) (get . "keys"))) }}{{ $found = true }}{{ end }}
{{- end }}
{{- if not $found }}
{{- fail (printf "settings.%s: %s has no entry for key %s of %s; add {%s: %s, keys: [%s]} to %s" $setting $value (index $parts 5) (index $parts 4) $field (index $parts 4) (index $parts 5) $value) }}
{{- end }}
{{- end }}
{{- end }}
