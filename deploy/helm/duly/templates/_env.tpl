{{/* (dict "name" "DULY_X" "secret" "name" "key" "key") */}}
{{- define "duly.env.secret" -}}
- name: {{ .name }}
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}}
{{- end -}}

{{/* Where the broker is: our own Valkey, or externalBroker. */}}
{{- define "duly.env.broker" -}}
{{- if .Values.valkey.enabled -}}
- {name: DULY_REDIS__HOST, value: {{ include "duly.fullname" . }}-valkey}
{{ include "duly.env.secret" (dict "name" "DULY_REDIS__PASSWORD" "secret" (include "duly.valkey.secret" .) "key" .Values.valkey.auth.secretKey) }}
{{- else -}}
{{- $broker := .Values.externalBroker -}}
{{- if eq $broker.mode "sentinel" -}}
- {name: DULY_REDIS__SENTINEL__MASTER, value: {{ $broker.sentinel.master | quote }}}
- {name: DULY_REDIS__SENTINEL__NODES, value: {{ $broker.sentinel.nodes | toJson | quote }}}
{{- with $broker.sentinel.username }}
- {name: DULY_REDIS__SENTINEL__USERNAME, value: {{ . | quote }}}
{{- end }}
{{- if and $broker.existingSecret $broker.secretKeys.sentinelPassword }}
{{ include "duly.env.secret" (dict "name" "DULY_REDIS__SENTINEL__PASSWORD" "secret" $broker.existingSecret "key" $broker.secretKeys.sentinelPassword) }}
{{- end }}
{{- else -}}
- {name: DULY_REDIS__HOST, value: {{ $broker.host | quote }}}
- {name: DULY_REDIS__PORT, value: {{ $broker.port | quote }}}
{{- end }}
- {name: DULY_REDIS__CLUSTER, value: {{ eq $broker.mode "cluster" | quote }}}
- {name: DULY_REDIS__DB, value: {{ $broker.db | quote }}}
{{- with $broker.username }}
- {name: DULY_REDIS__USERNAME, value: {{ . | quote }}}
{{- end }}
{{- if and $broker.existingSecret $broker.secretKeys.password }}
{{ include "duly.env.secret" (dict "name" "DULY_REDIS__PASSWORD" "secret" $broker.existingSecret "key" $broker.secretKeys.password) }}
{{- end }}
{{- if $broker.tls.enabled }}
- {name: DULY_REDIS__TLS__ENABLED, value: "true"}
- {name: DULY_REDIS__TLS__VERIFY, value: {{ $broker.tls.verify | quote }}}
{{- if $broker.tls.existingSecret }}
- {name: DULY_REDIS__TLS__CA_FILE, value: /etc/duly/broker-tls/ca.crt}
{{- if $broker.tls.clientCertificate }}
- {name: DULY_REDIS__TLS__CERT_FILE, value: /etc/duly/broker-tls/tls.crt}
- {name: DULY_REDIS__TLS__KEY_FILE, value: /etc/duly/broker-tls/tls.key}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Where the orders are. Only workers and the migration get this. */}}
{{- define "duly.env.database" -}}
{{- if .Values.postgresql.enabled -}}
{{- include "duly.env.secret" (dict "name" "DULY_DATABASE__URL" "secret" (include "duly.postgresql.secret" .) "key" .Values.postgresql.auth.secretKeys.url) }}
{{- else -}}
{{- include "duly.env.secret" (dict "name" "DULY_DATABASE__URL" "secret" .Values.externalDatabase.existingSecret "key" .Values.externalDatabase.secretKeys.url) }}
{{- end }}
- {name: DULY_DATABASE__POOL_SIZE, value: {{ .Values.worker.databasePoolSize | quote }}}
{{- end -}}

{{/* The queues as JSON. A default queue that is not among them is null, which takes it away. */}}
{{- define "duly.queues" -}}
{{- $queues := dict "critical" nil "default" nil "low" nil -}}
{{- range $name, $queue := .Values.worker.queues -}}
{{- $_ := set $queues $name (dict "concurrency" $queue.concurrency "max_length" ($queue.maxLength | default 1000000)) -}}
{{- end -}}
{{- $queues | toJson -}}
{{- end -}}

{{/* What every service reads. (dict "root" $ "c" <component values>) */}}
{{- define "duly.env" -}}
{{ include "duly.env.broker" .root }}
- {name: DULY_QUEUES, value: {{ include "duly.queues" .root | quote }}}
- {name: DULY_LOG__LEVEL, value: {{ .c.logLevel | default .root.Values.log.level }}}
- {name: DULY_LOG__FORMAT, value: {{ .root.Values.log.format }}}
{{- range $name, $value := .root.Values.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- with .c.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
