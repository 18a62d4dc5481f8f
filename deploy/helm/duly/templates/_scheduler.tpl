{{- define "duly.scheduler.env" -}}
- {name: DULY_SCHEDULER__INTERVAL, value: {{ include "duly.text" .Values.scheduler.interval }}}
{{- if .Values.scheduler.entries }}
- {name: DULY_SCHEDULER__ENTRIES_FILE, value: /etc/duly/entries/entries.yaml}
{{- end }}
- {name: DULY_METRICS__HOST, value: {{ .Values.listenAddress | quote }}}
- {name: DULY_METRICS__PORT, value: "9464"}
{{- end -}}
