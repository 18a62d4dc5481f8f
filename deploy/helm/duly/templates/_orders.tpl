{{/*
The check of pending orders: where they are. What does not concern the chosen source is left out.
*/}}

{{/* "true" if the orders are in tables that our migration creates. */}}
{{- define "duly.orders.builtin" -}}
{{- if and (not .Values.app.name) (eq .Values.orders.source "builtin") }}true{{ end -}}
{{- end -}}

{{/* "true" if workers read the database. */}}
{{- define "duly.orders.database" -}}
{{- if and (not .Values.app.name) (has .Values.orders.source (list "builtin" "sql")) }}true{{ end -}}
{{- end -}}

{{/* "true" if pods wait for the migration: where somebody else runs it, they find out by themselves. */}}
{{- define "duly.orders.waits" -}}
{{- if and (include "duly.orders.builtin" .) .Values.migrations.enabled }}true{{ end -}}
{{- end -}}

{{/* The variables of a worker. */}}
{{- define "duly.env.orders" -}}
{{- $orders := .Values.orders -}}
- {name: DULY_ORDERS__SOURCE, value: {{ $orders.source | quote }}}
- {name: DULY_ORDERS__LOG, value: {{ $orders.log | quote }}}
{{- if eq $orders.log "changes" }}
- {name: DULY_ORDERS__LOG_AGE, value: {{ include "duly.text" $orders.logAge }}}
{{- else if eq $orders.log "sample" }}
- {name: DULY_ORDERS__LOG_SHARE, value: {{ include "duly.text" $orders.logShare }}}
{{- end }}
- {name: DULY_SCHEDULER__INTERVAL, value: {{ include "duly.text" .Values.scheduler.interval }}}
{{- if include "duly.orders.database" . }}
- {name: DULY_ORDERS__CONSISTENT, value: {{ $orders.consistent | quote }}}
- {name: DULY_ORDERS__SHARDS, value: {{ $orders.shards | quote }}}
{{- end }}
{{- if eq $orders.source "sql" }}
- {name: DULY_ORDERS__SQL__ORDERS, value: {{ $orders.sql.orders | quote }}}
- {name: DULY_ORDERS__SQL__ITEMS, value: {{ $orders.sql.items | quote }}}
{{- else if eq $orders.source "http" }}
- {name: DULY_ORDERS__HTTP__URL, value: {{ $orders.http.url | quote }}}
{{- else if eq $orders.source "python" }}
- {name: DULY_ORDERS__PYTHON, value: {{ $orders.python | quote }}}
{{- end }}
{{- end -}}

{{/* What a worker reads from Secrets to find the orders, as "duly.secrets". */}}
{{- define "duly.orders.secrets" -}}
{{- $found := list -}}
{{- with .Values.orders -}}
{{- if and (include "duly.orders.database" $) .replica.existingSecret -}}
{{- $found = append $found (dict "file" "replica-url" "secret" .replica.existingSecret "key" .replica.secretKey) -}}
{{- else if and (not $.Values.app.name) (eq .source "http") .http.existingSecret -}}
{{- $found = append $found (dict "file" "orders-token" "secret" .http.existingSecret "key" .http.secretKey) -}}
{{- end -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}
