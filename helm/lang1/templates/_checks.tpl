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
{{- include "lang1.databaseChecks" . }}
{{- include "lang1.sizeChecks" . }}
{{- include "lang1.networkChecks" . }}
{{- include "lang1.availabilityChecks" . }}
{{- end }}

{{- define "lang1.exposureChecks" -}}
{{- $v := .Values -}}
{{- $exposure := $v.exposure -}}
{{- if and $exposure.enabled (not (include "lang1.authenticates" .)) }}
{{- fail (printf "exposure.enabled: the service of version %s has no authentication and refuses any but a loopback address; set exposure.enabled to false, and reach it with kubectl port-forward" .Chart.AppVersion) }}
{{- end }}
{{- if and $exposure.ingress.enabled (not $exposure.enabled) }}
{{- fail "exposure.ingress.enabled: the service listens on loopback alone and no Ingress reaches it; set exposure.ingress.enabled to false, or exposure.enabled to true once the service authenticates its clients" }}
{{- end }}
{{- if and $exposure.clients (not $exposure.enabled) }}
{{- fail "exposure.clients: no client reaches a service that listens on loopback alone; leave exposure.clients empty, or set exposure.enabled to true once the service authenticates its clients" }}
{{- end }}
{{- if not (or $exposure.enabled $exposure.acknowledgeLoopbackOnly) }}
{{- fail "exposure.acknowledgeLoopbackOnly: the service has no authentication yet, so it listens on 127.0.0.1 inside its pods and only kubectl port-forward reaches it; set exposure.acknowledgeLoopbackOnly to true to install it so" }}
{{- end }}
{{- if $exposure.ingress.enabled }}
{{- if not $exposure.ingress.host }}
{{- fail "exposure.ingress.host is empty; set it to the host name that clients call" }}
{{- end }}
{{- if not $exposure.ingress.tlsSecretName }}
{{- fail "exposure.ingress.tlsSecretName is empty, and notes are PHI; set it to the Secret with the certificate for exposure.ingress.host" }}
{{- end }}
{{- if not $exposure.clients }}
{{- fail "exposure.clients is empty, so the NetworkPolicy would shut the Ingress out; name the ingress controller's pods in exposure.clients" }}
{{- end }}
{{- end }}
{{- if and $exposure.enabled $exposure.acknowledgeLoopbackOnly }}
{{- fail "exposure.acknowledgeLoopbackOnly is true but exposure.enabled exposes the service; set exposure.acknowledgeLoopbackOnly to false" }}
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
{{- if and $v.bundle.path (not $v.bundle.existingClaim) }}
{{- fail "bundle.path names a folder of no claim; set bundle.existingClaim to the claim that holds it" }}
{{- end }}
{{- end }}

{{- define "lang1.sizeChecks" -}}
{{- $v := .Values -}}
{{- if gt (int $v.workers.minReplicas) (int $v.workers.maxReplicas) }}
{{- fail (printf "workers.minReplicas %d is above workers.maxReplicas %d; raise the one or lower the other" (int $v.workers.minReplicas) (int $v.workers.maxReplicas)) }}
{{- end }}
{{- if and (not $v.autoscaling.enabled) (ne (int $v.workers.minReplicas) (int $v.workers.maxReplicas)) }}
{{- fail "workers.minReplicas and workers.maxReplicas differ, but nothing would change the number of pods; set autoscaling.enabled to true, or make them equal" }}
{{- end }}
{{- $scorers := int $v.replicas.scorer -}}
{{- with $v.scorer.autoscaling }}{{ if .enabled }}
{{- if gt (int .minReplicas) (int .maxReplicas) }}
{{- fail (printf "scorer.autoscaling.minReplicas %d is above scorer.autoscaling.maxReplicas %d; raise the one or lower the other" (int .minReplicas) (int .maxReplicas)) }}
{{- end }}
{{- if or (lt $scorers (int .minReplicas)) (gt $scorers (int .maxReplicas)) }}
{{- fail (printf "replicas.scorer %d is where scorer.autoscaling begins; set it between scorer.autoscaling.minReplicas %d and maxReplicas %d" $scorers (int .minReplicas) (int .maxReplicas)) }}
{{- end }}
{{- $scorers = int .maxReplicas -}}
{{- end }}{{ end -}}
{{- if and (gt (float64 $v.scorer.gpus) 0.0) (eq (int $v.workers.gpus) 0) }}
{{- fail "scorer.gpus is above 0 but the pods have no GPU; set workers.gpus, or scorer.gpus to 0" }}
{{- end }}
{{- if and (gt (int $v.workers.gpus) 0) (eq (float64 $v.scorer.gpus) 0.0) }}
{{- fail "workers.gpus is above 0 but no scorer would use one; set scorer.gpus, or workers.gpus to 0" }}
{{- end }}
{{- if and (gt (int $v.workers.gpus) 0) (not $v.workers.runtimeClassName) }}
{{- fail "workers.runtimeClassName is empty and workers.gpus is above 0; set it to the RuntimeClass of the GPU nodes, such as nvidia" }}
{{- end }}
{{- $device := get $v.settings "device" | default "auto" -}}
{{- if and (eq $device "cuda") (eq (float64 $v.scorer.gpus) 0.0) }}
{{- fail "settings.device is cuda but scorer.gpus is 0; set scorer.gpus and workers.gpus, or settings.device to cpu" }}
{{- end }}
{{- if and (eq $device "cpu") (gt (float64 $v.scorer.gpus) 0.0) }}
{{- fail "settings.device is cpu but scorer.gpus reserves a GPU; set settings.device to cuda, or scorer.gpus to 0" }}
{{- end }}
{{- if gt (int $v.scorer.threads) (int $v.workers.cpu) }}
{{- fail (printf "scorer.threads %d is above workers.cpu %d and the threads would wait for each other; lower it or raise workers.cpu" (int $v.scorer.threads) (int $v.workers.cpu)) }}
{{- end }}
{{- $fit := floor (divf (float64 $v.workers.cpu) (float64 $v.scorer.cpus)) -}}
{{- if gt (float64 $v.scorer.gpus) 0.0 }}{{ $fit = min (int $fit) (int (floor (divf (float64 $v.workers.gpus) (float64 $v.scorer.gpus)))) }}{{ end -}}
{{- $places := mul (int $fit) (int $v.workers.maxReplicas) -}}
{{- if gt $scorers (int $places) }}
{{- fail (printf "workers: %d scorers do not fit, there is room for %d; raise workers.maxReplicas, workers.cpu or workers.gpus, or lower the scorers" $scorers (int $places)) }}
{{- end }}
{{- /* serve/app.py reserves 0.1 CPU for each HTTP process and store writer. */ -}}
{{- $shares := addf (mulf (float64 $v.scorer.cpus) $scorers) (mulf 0.1 (add (int $v.replicas.http) (int $v.replicas.store))) -}}
{{- if gt $shares (mulf 1.0 (int $v.workers.cpu) (int $v.workers.maxReplicas)) }}
{{- fail (printf "workers: the processes reserve %g CPUs and all pods have %d; raise workers.cpu or workers.maxReplicas, or lower scorer.cpus" $shares (mul (int $v.workers.cpu) (int $v.workers.maxReplicas))) }}
{{- end }}
{{- end }}

{{- define "lang1.networkChecks" -}}
{{- $v := .Values -}}
{{- if and $v.autoscaling.enabled (not $v.networkPolicy.kubernetesApi.cidrs) }}
{{- fail "networkPolicy.kubernetesApi.cidrs is empty and the autoscaler calls the Kubernetes API; set it to the API's addresses (kubectl get endpointslices -n default)" }}
{{- end }}
{{- if and (get $v.settings "fhir_base_url") (not $v.networkPolicy.fhirPeers) }}
{{- fail "networkPolicy.fhirPeers is empty and settings.fhir_base_url is set; name the FHIR server in networkPolicy.fhirPeers" }}
{{- end }}
{{- if and (or $v.monitoring.ray.enabled $v.monitoring.service.enabled) (not $v.networkPolicy.prometheusNamespace) }}
{{- fail "networkPolicy.prometheusNamespace is empty and monitoring is on; set it to the namespace of Prometheus" }}
{{- end }}
{{- if and $v.monitoring.service.enabled (not $v.exposure.enabled) }}
{{- fail "monitoring.service.enabled: Prometheus reaches no service that listens on loopback alone; set monitoring.service.enabled to false, or exposure.enabled to true once the service authenticates its clients" }}
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
