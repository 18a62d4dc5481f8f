{{- define "duly.monitor.env" -}}
- {name: DULY_MONITOR__HOST, value: {{ .Values.listenAddress | quote }}}
- {name: DULY_MONITOR__PREFIX, value: {{ .Values.monitor.prefix | quote }}}
- {name: DULY_MONITOR__ENVIRONMENT, value: {{ .Values.monitor.environment | quote }}}
- {name: DULY_MONITOR__READ_ONLY, value: {{ .Values.monitor.readOnly | quote }}}
- {name: DULY_MONITOR__UI, value: {{ .Values.monitor.ui | quote }}}
{{- with .Values.monitor.proxies }}
- {name: DULY_MONITOR__PROXY__NETWORKS, value: {{ join "," . | quote }}}
{{- end }}
{{- if include "duly.monitor.open" . }}
- {name: DULY_MONITOR__ACCESS, value: {{ .Values.monitor.access | default "basic" }}}
- {name: DULY_MONITOR__USERNAME, value: {{ .Values.monitor.auth.username | quote }}}
{{- else }}
- {name: DULY_MONITOR__ACCESS, value: {{ .Values.monitor.access | default "closed" }}}
{{- end }}
{{- end -}}
