{{/* The queues as JSON. A default queue that is not among them is set to null, which removes it. */}}
{{- define "duly.queues" -}}
{{- $queues := dict "critical" nil "default" nil "low" nil -}}
{{- range $name, $queue := .Values.worker.queues -}}
{{- if $queue -}}
{{- $c := mergeOverwrite (deepCopy $.Values.worker.defaults) (deepCopy $queue) -}}
{{- $_ := set $queues $name (dict "concurrency" $c.concurrency "max_length" $c.maxLength) -}}
{{- end -}}
{{- end -}}
{{- $queues | toJson -}}
{{- end -}}

{{/*
The variable of the queues. Its value is in a ConfigMap: were it in the pods, a change of one queue would
replace the workers of all. Those whose pods have to change have it as an annotation.
*/}}
{{- define "duly.queues.variable" -}}
name: DULY_QUEUES
valueFrom:
  configMapKeyRef: {name: {{ include "duly.fullname" . }}-queues, key: queues}
{{- end -}}

{{/* Changes with any queue, for pods that deal with all of them. */}}
{{- define "duly.queues.annotations" -}}
duly/queues: {{ include "duly.queues" . | sha256sum | trunc 16 | quote }}
{{- end -}}

{{/*
A container's variables, each once. A component's extraEnv wins over the application's, that over
`settings`, and these over what is fixed here. (dict "root" $ "c" <component values>), and as needed
"role" (that of the broker), "database" true, "monitor" true, "app" true and "more" (of the component alone).
*/}}
{{- define "duly.env" -}}
{{- $all := list -}}
{{- if .role -}}
{{- $all = concat $all (include "duly.env.broker" . | fromYamlArray) -}}
{{- end -}}
{{- $names := dict "redis-password" "DULY_REDIS__PASSWORD_FILE" "sentinel-password" "DULY_REDIS__SENTINEL__PASSWORD_FILE" "database-url" "DULY_DATABASE__URL_FILE" "replica-url" "DULY_ORDERS__REPLICA_URL_FILE" "orders-token" "DULY_ORDERS__HTTP__TOKEN_FILE" "monitor-password" "DULY_MONITOR__PASSWORD_FILE" "monitor-session-keys" "DULY_MONITOR__SESSION__KEYS_FILE" "monitor-oidc-secret" "DULY_MONITOR__OIDC__CLIENT_SECRET_FILE" "tracing-headers" "DULY_TRACING__HEADERS_FILE" -}}
{{- range include "duly.secrets" . | fromYamlArray -}}
{{- if hasKey $names .file -}}
{{- $all = append $all (dict "name" (get $names .file) "value" (printf "/etc/duly/secrets/%s" .file)) -}}
{{- end -}}
{{- end -}}
{{- if .database -}}
{{- $all = concat $all (include "duly.env.database" . | fromYamlArray) -}}
{{- end -}}
{{- $values := .root.Values -}}
{{- $all = append $all (include "duly.queues.variable" .root | fromYaml) -}}
{{- $all = append $all (dict "name" "DULY_LOG__LEVEL" "value" (.c.logLevel | default $values.log.level)) -}}
{{- $all = append $all (dict "name" "DULY_LOG__FORMAT" "value" $values.log.format) -}}
{{- if include "duly.log.levels" . -}}
{{- $all = append $all (dict "name" "DULY_LOG__LEVELS_FILE" "value" "/etc/duly/log/levels") -}}
{{- end -}}
{{- if include "duly.tracing" . -}}
{{- $all = append $all (dict "name" "DULY_TRACING__ENDPOINT" "value" $values.tracing.endpoint) -}}
{{- $all = append $all (dict "name" "DULY_TRACING__SAMPLE_RATIO" "value" (toJson $values.tracing.sampleRatio)) -}}
{{- end -}}
{{- $all = concat $all (.more | default "" | fromYamlArray) -}}
{{- range $name, $value := $values.settings -}}
{{- $all = append $all (dict "name" $name "value" (ternary $value (toJson $value) (kindIs "string" $value))) -}}
{{- end -}}
{{- /* Kubernetes reads $(NAME) and $$ in a value; what stands in our values means itself. Variables of your own are yours. */ -}}
{{- range $item := $all -}}
{{- if hasKey $item "value" -}}{{- $_ := set $item "value" (replace "$" "$$" $item.value) -}}{{- end -}}
{{- end -}}
{{- if .app -}}
{{- $all = concat $all (include "duly.app.env" .root | fromYamlArray) -}}
{{- end -}}
{{- include "duly.env.unique" (concat $all .c.extraEnv | toYaml) -}}
{{- end -}}

{{/* "true" if a container has the file with the levels of loggers: services have it, Jobs do not. */}}
{{- define "duly.log.levels" -}}
{{- if and .role .root.Values.log.levels }}true{{ end -}}
{{- end -}}

{{/* (dict "root" $ "c" …), and as needed "app" true. */}}
{{- define "duly.envFrom" -}}
{{- with concat (ternary .root.Values.app.extraEnvFrom list (.app | default false)) .c.extraEnvFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
