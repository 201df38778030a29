{{/* Whether what must be reached is let through. */}}
{{- define "lang1.networkChecks" -}}
{{- $v := .Values -}}
{{- if and $v.autoscaling.enabled (not $v.networkPolicy.kubernetesApi.cidrs) }}
{{- fail "networkPolicy.kubernetesApi.cidrs is empty and the autoscaler calls the Kubernetes API; set it to the API's addresses (kubectl get endpointslices -n default)" }}
{{- end }}
{{- if and (get $v.settings "fhir_base_url") (not $v.networkPolicy.fhirPeers) }}
{{- fail "networkPolicy.fhirPeers is empty and settings.fhir_base_url is set; name the FHIR server in networkPolicy.fhirPeers" }}
{{- end }}
{{- if and (include "lang1.issuerUrls" .) (not $v.networkPolicy.issuerPeers) }}
{{- fail "networkPolicy.issuerPeers is empty and settings name keys at a URL (jwks_url, oidc_issuer); name the authorisation servers in networkPolicy.issuerPeers" }}
{{- end }}
{{- if and (or $v.monitoring.ray.enabled $v.monitoring.service.enabled) (not $v.networkPolicy.prometheusNamespace) }}
{{- fail "networkPolicy.prometheusNamespace is empty and monitoring is on; set it to the namespace of Prometheus" }}
{{- end }}
{{- if and $v.monitoring.service.enabled (not $v.exposure.enabled) }}
{{- fail "monitoring.service.enabled: exposure is off, and Prometheus reaches no service that listens on loopback alone; set monitoring.service.enabled to false, or exposure.enabled to true" }}
{{- end }}
{{- $oauth2 := $v.monitoring.service.oauth2 -}}
{{- if and $oauth2.tokenUrl (not $oauth2.secretName) }}
{{- fail "monitoring.service.oauth2.secretName is empty and monitoring.service.oauth2.tokenUrl is set; set it to the Secret with the client of Prometheus" }}
{{- end }}
{{- if and $oauth2.tokenUrl (not (get $v.settings "auth_issuers")) }}
{{- fail "monitoring.service.oauth2.tokenUrl: the service takes the token of none; set settings.auth_issuers to its issuer" }}
{{- end }}
{{- if and $v.monitoring.service.enabled (not $oauth2.tokenUrl) (ne (get $v.settings "metrics_access") "open") }}
{{- fail "monitoring.service.enabled: Prometheus would be refused; give it a client by monitoring.service.oauth2, or set settings.metrics_access to open, for all that reach the port" }}
{{- end }}
{{- if and $v.ray.redis.address (not $v.ray.redis.secretName) }}
{{- fail "ray.redis.secretName is empty and ray.redis.address is set; set it to the Secret with the password" }}
{{- end }}
{{- if and $v.ray.redis.address (not $v.ray.redis.peers) }}
{{- fail "ray.redis.peers is empty and everything not named is denied; set ray.redis.peers to where Redis is, such as an ipBlock" }}
{{- end }}
{{- if and $v.ray.redis.secretName (not $v.ray.redis.address) }}
{{- fail "ray.redis.address is empty and ray.redis.secretName is set; set it to host:port of Redis" }}
{{- end }}
{{- end }}
