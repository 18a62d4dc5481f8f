{{/* How Prometheus scrapes. (dict "root" $ "values" .Values.metrics.podMonitor) */}}
{{- define "duly.scrape" -}}
interval: {{ .values.interval | quote }}
# The operator names a target's Service in the label service, which is the name of a service of ours in our metrics.
honorLabels: true
{{- range $key := list "scrapeTimeout" "scheme" "tlsConfig" "metricRelabelings" }}
{{- with get $.values $key }}
{{ dict $key . | toYaml }}
{{- end }}
{{- end }}
# Rules and dashboards tell releases apart by this label.
relabelings:
  - {targetLabel: release, replacement: {{ include "duly.release" .root | quote }}}
  {{- with .values.relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
