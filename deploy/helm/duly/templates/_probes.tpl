{{/* A probe on top of which a component may set its own numbers. (dict "c" … "name" "liveness" "probe" <dict>) */}}
{{- define "duly.probe" -}}
{{ .name }}Probe: {{- mergeOverwrite .probe (get .c.probes .name) | toYaml | nindent 2 }}
{{- end -}}

{{/* The services' probes. Liveness checks the event loop and the background loops, so no outage of a store restarts a pod. (dict "c" … "port" "http") */}}
{{- define "duly.probes" -}}
{{- $live := dict "httpGet" (dict "path" "/livez" "port" .port) "timeoutSeconds" 5 -}}
{{- $ready := dict "httpGet" (dict "path" "/readyz" "port" .port) "timeoutSeconds" 5 -}}
{{- include "duly.probe" (dict "c" .c "name" "startup" "probe" (merge (dict "periodSeconds" 1 "failureThreshold" 120) $live)) }}
{{ include "duly.probe" (dict "c" .c "name" "liveness" "probe" (merge (dict "periodSeconds" 10 "failureThreshold" 3) $live)) }}
{{ include "duly.probe" (dict "c" .c "name" "readiness" "probe" (merge (dict "periodSeconds" 5 "failureThreshold" 2) $ready)) }}
{{- end -}}
