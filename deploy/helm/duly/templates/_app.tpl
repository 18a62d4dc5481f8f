{{/*
Your own application. What only the check of pending orders needs (its database, its migration) goes without it.
*/}}

{{/* A service's image: that of your application, where it has one. (dict "root" $ "component" "worker") */}}
{{- define "duly.service.image" -}}
{{- $own := .root.Values.app.image -}}
{{- include "duly.image" (dict "root" .root "image" (ternary $own (get .root.Values .component).image (not (empty $own.repository)))) -}}
{{- end -}}

{{/* What such an image has to run: it holds both services, and only one is its entry point. */}}
{{- define "duly.service.command" -}}
{{- if .root.Values.app.image.repository }}
command: [python, -m, duly_{{ .component }}]
{{- end }}
{{- end -}}

{{/* The variables that name the application and its file. */}}
{{- define "duly.app.env" -}}
{{- with .Values.app.name }}
- {name: DULY_APP, value: {{ . | quote }}}
{{- end }}
{{- if .Values.app.settings }}
- {name: DULY_CONFIG, value: /etc/duly/app/duly.yaml}
{{- end }}
{{- with .Values.app.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "duly.app.mounts" -}}
{{- if .Values.app.settings }}
- {name: app, mountPath: /etc/duly/app, readOnly: true}
{{- end }}
{{- end -}}

{{- define "duly.app.volumes" -}}
{{- if .Values.app.settings }}
- name: app
  configMap: {name: {{ include "duly.fullname" . }}-app, defaultMode: 0444}
{{- end }}
{{- end -}}

{{/* Changes with its settings, and restarts the pods that read them; none where there are none. */}}
{{- define "duly.app.annotations" -}}
{{- with .Values.app.settings }}
duly/settings: {{ toYaml . | sha256sum | trunc 16 | quote }}
{{- end -}}
{{- end -}}

{{- define "duly.test.env" -}}
{{- with .Values.app.name }}
- {name: DULY_APP, value: {{ . | quote }}}
{{- end }}
{{- end -}}
