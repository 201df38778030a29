{{/* What the schema cannot say: values that are wrong together. Each message names the value and the mend. */}}
{{- define "lang1.checks" -}}
{{- $v := .Values -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" .Release.Name) }}
{{- fail (printf "release name %s: KubeRay needs a DNS-1035 label; begin it with a letter and use a-z, 0-9 and -" .Release.Name) }}
{{- end }}
{{- if not (or $v.scoring.enabled $v.train.enabled) }}
{{- fail "scoring.enabled and train.enabled are both false, so there is nothing to install; set one to true" }}
{{- end }}
{{- if $v.scoring.enabled }}{{ include "lang1.scoringChecks" . }}{{ end }}
{{- if $v.train.enabled }}{{ include "lang1.trainChecks" . }}{{ end }}
{{- end }}

{{- define "lang1.scoringChecks" -}}
{{- include "lang1.exposureChecks" . }}
{{- include "lang1.settingsChecks" . }}
{{- include "lang1.fileChecks" . }}
{{- include "lang1.databaseChecks" . }}
{{- include "lang1.sizeChecks" . }}
{{- include "lang1.networkChecks" . }}
{{- include "lang1.availabilityChecks" . }}
{{- end }}

{{- define "lang1.exposureChecks" -}}
{{- $v := .Values -}}
{{- $exposure := $v.exposure -}}
{{- if and $exposure.ingress.enabled (not $exposure.enabled) }}
{{- fail "exposure.ingress.enabled: exposure is off, so the service listens on loopback alone and no Ingress reaches it; set exposure.ingress.enabled to false, or exposure.enabled to true" }}
{{- end }}
{{- if and $exposure.clients (not $exposure.enabled) }}
{{- fail "exposure.clients: exposure is off, so the service listens on loopback alone and no client reaches it; leave exposure.clients empty, or set exposure.enabled to true" }}
{{- end }}
{{- if not (or $exposure.enabled $exposure.acknowledgeLoopbackOnly) }}
{{- fail "exposure.acknowledgeLoopbackOnly: exposure is off, so the service listens on 127.0.0.1 inside its pods and only kubectl port-forward reaches it; set exposure.acknowledgeLoopbackOnly to true to install it so, or exposure.enabled to true" }}
{{- end }}
{{- if $exposure.enabled }}{{ include "lang1.exposedChecks" . }}{{ end }}
{{- end }}

{{- define "lang1.exposedChecks" -}}
{{- $exposure := .Values.exposure -}}
{{- if $exposure.acknowledgeLoopbackOnly }}
{{- fail "exposure.acknowledgeLoopbackOnly is true but exposure.enabled exposes the service; set exposure.acknowledgeLoopbackOnly to false" }}
{{- end }}
{{- if $exposure.ingress.enabled }}
{{- if not $exposure.ingress.host }}
{{- fail "exposure.ingress.host is empty; set it to the host name that clients call" }}
{{- end }}
{{- if not $exposure.ingress.tlsSecretName }}
{{- fail "exposure.ingress.tlsSecretName is empty, and notes are PHI; set it to the Secret with the certificate for exposure.ingress.host" }}
{{- end }}
{{- end }}
{{- if not $exposure.clients }}
{{- fail "exposure.clients is empty, so the NetworkPolicy would shut every client out; name those that may call in exposure.clients, such as the ingress controller's pods" }}
{{- end }}
{{- if not (include "lang1.authenticates" .) }}
{{- fail "exposure.enabled: nothing proves who calls, and without that the service refuses any but a loopback address; set settings.auth_issuers (or settings.cds_clients, settings.oidc_issuer), or exposure.enabled to false" }}
{{- end }}
{{- if not (include "lang1.publicBaseUrl" .) }}
{{- fail "exposure.enabled: links and a CDS token's audience would name 0.0.0.0; set settings.public_base_url to the URL that clients call, with /fhir at its end, or exposure.ingress.enabled to true with exposure.ingress.host" }}
{{- end }}
{{- end }}

{{- define "lang1.databaseChecks" -}}
{{- $v := .Values -}}
{{- if eq $v.database.kind "postgresql" }}
{{- if not $v.database.secretName }}
{{- fail "database.secretName is empty and database.kind is postgresql; set database.secretName to the Secret that holds the URL" }}
{{- end }}
{{- if not $v.database.peers }}
{{- fail "database.peers is empty and everything not named is denied; set database.peers to where PostgreSQL is, such as an ipBlock" }}
{{- end }}
{{- else }}
{{- if $v.database.secretName }}
{{- fail "database.secretName is set but database.kind is sqlite; set database.kind to postgresql" }}
{{- end }}
{{- if $v.migration.enabled }}
{{- fail "migration.enabled: a SQLite file is of one pod, which migrates it at its start; set migration.enabled to false, or database.kind to postgresql" }}
{{- end }}
{{- if or $v.database.ca.secretName $v.database.ca.configMapName }}
{{- fail "database.ca is set but database.kind is sqlite; set database.kind to postgresql, or leave database.ca empty" }}
{{- end }}
{{- if gt (int $v.replicas.store) 1 }}
{{- fail "replicas.store above 1 needs PostgreSQL, SQLite has one writer; set database.kind to postgresql, or replicas.store to 1" }}
{{- end }}
{{- if gt (int $v.workers.maxReplicas) 1 }}
{{- fail "workers.maxReplicas above 1 needs PostgreSQL, a SQLite file is of one pod; set database.kind to postgresql, or workers.maxReplicas to 1" }}
{{- end }}
{{- if $v.autoscaling.enabled }}
{{- fail "autoscaling.enabled needs PostgreSQL, a SQLite file is of one pod; set database.kind to postgresql, or autoscaling.enabled to false" }}
{{- end }}
{{- if ne $v.upgrade.type "None" }}
{{- fail (printf "upgrade.type %s starts a second cluster beside the first, and a SQLite file has one writer; set upgrade.type to None, or database.kind to postgresql" $v.upgrade.type) }}
{{- end }}
{{- end }}
{{- if and $v.database.ca.secretName $v.database.ca.configMapName }}
{{- fail "database.ca.secretName and database.ca.configMapName are both set; leave one empty" }}
{{- end }}
{{- if and $v.migration.secretName (not $v.migration.enabled) }}
{{- fail "migration.secretName is set but no job would use it; set migration.enabled to true" }}
{{- end }}
{{- if and $v.bundle.path (not $v.bundle.existingClaim) }}
{{- fail "bundle.path names a folder of no claim; set bundle.existingClaim to the claim that holds it" }}
{{- end }}
{{- end }}

{{- define "lang1.availabilityChecks" -}}
{{- $v := .Values -}}
{{- if eq $v.upgrade.type "NewClusterWithIncrementalUpgrade" }}
{{- if not $v.exposure.enabled }}
{{- fail "upgrade.type NewClusterWithIncrementalUpgrade moves traffic through a Gateway, which reaches no service that listens on loopback alone; set upgrade.type to NewCluster" }}
{{- end }}
{{- if not $v.autoscaling.enabled }}
{{- fail "upgrade.type NewClusterWithIncrementalUpgrade needs Ray's autoscaler; set autoscaling.enabled to true" }}
{{- end }}
{{- with $v.upgrade.incremental }}
{{- if not .gatewayClassName }}
{{- fail "upgrade.incremental.gatewayClassName is empty; set it to the GatewayClass of the cluster" }}
{{- end }}
{{- if gt (int .stepSizePercent) (int .maxSurgePercent) }}
{{- fail "upgrade.incremental.stepSizePercent is above upgrade.incremental.maxSurgePercent; lower the step or raise the surge" }}
{{- end }}
{{- end }}
{{- end }}
{{- if $v.highAvailability }}
{{- if ne $v.database.kind "postgresql" }}
{{- fail "highAvailability needs PostgreSQL; set database.kind to postgresql and database.secretName to the Secret that holds the URL" }}
{{- end }}
{{- if not $v.ray.redis.address }}
{{- fail "highAvailability needs a control plane that outlives its pod; set ray.redis.address and ray.redis.secretName" }}
{{- end }}
{{- range $name, $count := dict "workers.minReplicas" $v.workers.minReplicas "replicas.http" $v.replicas.http "replicas.store" $v.replicas.store "replicas.scorer" $v.replicas.scorer }}
{{- if lt (int $count) 2 }}
{{- fail (printf "highAvailability needs two of everything; set %s to 2 or more, or highAvailability to false" $name) }}
{{- end }}
{{- end }}
{{- if and $v.scorer.autoscaling.enabled (lt (int $v.scorer.autoscaling.minReplicas) 2) }}
{{- fail "highAvailability needs two of everything; set scorer.autoscaling.minReplicas to 2 or more, or highAvailability to false" }}
{{- end }}
{{- if ne $v.workers.spread "DoNotSchedule" }}
{{- fail "highAvailability needs the pods on different nodes; set workers.spread to DoNotSchedule" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "lang1.trainChecks" -}}
{{- $t := .Values.train -}}
{{- if not $t.runName }}
{{- fail "train.runName is empty; name the run, such as 2026-11-readmission" }}
{{- end }}
{{- if not $t.existingClaim }}
{{- fail "train.existingClaim is empty and the finished bundle would be lost with the pod; set it to a claim" }}
{{- end }}
{{- if and (gt (int $t.gpus) 0) (not $t.runtimeClassName) }}
{{- fail "train.runtimeClassName is empty and train.gpus is above 0; set it to the RuntimeClass of the GPU nodes, such as nvidia" }}
{{- end }}
{{- end }}
