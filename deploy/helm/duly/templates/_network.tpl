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
    {{- range .Values.networkPolicy.brokerPorts }}
    - {protocol: TCP, port: {{ int64 . }}}
    {{- end }}
  {{- with .Values.networkPolicy.brokerTo }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
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

{{/* Who may read the metrics. */}}
{{- define "duly.ingress.metrics" -}}
- ports: [{protocol: TCP, port: {{ .port }}}]
  {{- with .root.Values.networkPolicy.metricsFrom }}
  from: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
