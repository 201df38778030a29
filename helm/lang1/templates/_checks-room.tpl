{{/* Whether the processes fit into the pods. */}}
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
{{- $small := add (int $v.replicas.http) (int $v.replicas.store) (int (include "lang1.loops" .)) -}}
{{- /* serve/app.py reserves 0.1 CPU for each process that is no scorer. */ -}}
{{- $shares := addf (mulf (float64 $v.scorer.cpus) $scorers) (mulf 0.1 $small) -}}
{{- if gt $shares (mulf 1.0 (int $v.workers.cpu) (int $v.workers.maxReplicas)) }}
{{- fail (printf "workers: the processes reserve %g CPUs and all pods have %d; raise workers.cpu or workers.maxReplicas, or lower scorer.cpus" $shares (mul (int $v.workers.cpu) (int $v.workers.maxReplicas))) }}
{{- end }}
{{- end }}
