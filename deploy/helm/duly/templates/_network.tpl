{{/* Egress rules that the policies share. */}}
{{- define "duly.egress.dns" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end -}}

{{- define "duly.egress.broker" -}}
{{- if .Values.valkey.enabled -}}
- to:
    - podSelector:
        matchLabels: {{- include "duly.selectorLabels" (dict "root" . "component" "valkey") | nindent 10 }}
  ports: [{protocol: TCP, port: 6379}]
{{- else -}}
- ports:
    {{- range include "duly.broker.ports" . | fromJsonArray }}
    - {protocol: TCP, port: {{ int64 . }}}
    {{- end }}
  {{- with .Values.networkPolicy.brokerTo }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* The ports that are named for the broker, and those that nodes of a Cluster or masters behind sentinels usually have. */}}
{{- define "duly.broker.ports" -}}
{{- $broker := .Values.externalBroker -}}
{{- $ports := list -}}
{{- range .Values.networkPolicy.brokerPorts }}{{ $ports = append $ports (int64 .) }}{{ end -}}
{{- if ne $broker.mode "sentinel" }}{{ $ports = append $ports (int64 $broker.port) }}{{ end -}}
{{- range $broker.sentinel.nodes }}{{ $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default "26379" | int64) }}{{ end -}}
{{- uniq $ports | toJson -}}
{{- end -}}

{{- define "duly.egress.database" -}}
{{- if .Values.postgresql.enabled -}}
- to:
    - podSelector:
        matchLabels: {{- include "duly.selectorLabels" (dict "root" . "component" "postgresql") | nindent 10 }}
  ports: [{protocol: TCP, port: 5432}]
{{- else -}}
- ports:
    {{- range .Values.networkPolicy.databasePorts }}
    - {protocol: TCP, port: {{ int64 . }}}
    {{- end }}
  {{- with .Values.networkPolicy.databaseTo }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* Where the orders are: an order service, else a database, which code of your own may read, too. */}}
{{- define "duly.egress.orders" -}}
{{- if and (not .Values.app.name) (eq .Values.orders.source "http") -}}
- ports:
    {{- range .Values.networkPolicy.ordersPorts | default (list (include "duly.port" .Values.orders.http.url)) }}
    - {protocol: TCP, port: {{ int64 . }}}
    {{- end }}
  {{- with .Values.networkPolicy.ordersTo }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- else -}}
{{- include "duly.egress.database" . -}}
{{- end -}}
{{- end -}}

{{/* A URL's port, or that of its scheme. */}}
{{- define "duly.port" -}}
{{- $url := urlParse . -}}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end -}}

{{/* Who may read the metrics. */}}
{{- define "duly.ingress.metrics" -}}
- ports: [{protocol: TCP, port: {{ .port }}}]
  {{- with .root.Values.networkPolicy.metricsFrom }}
  from: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
