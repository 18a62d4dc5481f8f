{{/* The release's objects are named <release>-duly, or <release> when that says it already. */}}
{{- define "duly.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains "duly" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-duly" (.Release.Name | trunc 35 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* What selectors use: it never changes between versions. (dict "root" $ "component" "scheduler") */}}
{{- define "duly.selectorLabels" -}}
app.kubernetes.io/name: duly
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .queue }}
duly/queue: {{ . }}
{{- end }}
{{- end -}}

{{/* Every object's labels; same arguments. */}}
{{- define "duly.labels" -}}
{{ include "duly.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: duly
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* (dict "root" $ "image" .Values.scheduler.image): a digest wins over a tag. */}}
{{- define "duly.image" -}}
{{- with .image.registry | default .root.Values.global.imageRegistry | default .root.Values.image.registry }}{{ . }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .root.Values.image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end -}}

{{/* (dict "root" $ "component" "scheduler" "account" .Values.scheduler.serviceAccount) */}}
{{- define "duly.serviceAccountName" -}}
{{- if .account.create -}}
{{- .account.name | default (printf "%s-%s" (include "duly.fullname" .root) .component) -}}
{{- else -}}
{{- .account.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* The Secrets that hold the passwords of our own stores and of the monitor. */}}
{{- define "duly.valkey.secret" -}}
{{- .Values.valkey.auth.existingSecret | default (printf "%s-valkey" (include "duly.fullname" .)) -}}
{{- end -}}
{{- define "duly.postgresql.secret" -}}
{{- .Values.postgresql.auth.existingSecret | default (printf "%s-postgresql" (include "duly.fullname" .)) -}}
{{- end -}}
{{- define "duly.monitor.secret" -}}
{{- .Values.monitor.auth.existingSecret | default (printf "%s-monitor" (include "duly.fullname" .)) -}}
{{- end -}}
