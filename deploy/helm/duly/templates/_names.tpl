{{/* A name that the API takes: small letters, digits and dashes. What is changed or cut gets a hash, so that two never meet. (dict "name" … "length" …) */}}
{{- define "duly.short" -}}
{{- $plain := regexReplaceAll "[^a-z0-9-]+" .name "-" | trimAll "-" -}}
{{- if and (eq $plain .name) (le (len $plain) .length) -}}
{{- $plain -}}
{{- else -}}
{{- printf "%s-%s" ($plain | trunc (int (sub .length 9)) | trimSuffix "-" | default "q") (.name | sha256sum | trunc 8) -}}
{{- end -}}
{{- end -}}

{{- define "duly.name" -}}
{{- .Values.nameOverride | default "duly" -}}
{{- end -}}

{{/* The release's objects are named <release>-duly, or <release> if that already contains "duly". A Service begins with a letter. */}}
{{- define "duly.fullname" -}}
{{- $name := include "duly.name" . -}}
{{- $full := .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) -}}
{{- include "duly.short" (dict "name" (ternary $full (printf "duly-%s" $full) (regexMatch "^[a-z]" $full)) "length" 40) -}}
{{- end -}}

{{/* What metrics, rules and dashboards know it by: the release, or, under an alias in a parent chart, which may have two of us, the name of its objects. */}}
{{- define "duly.release" -}}
{{- ternary .Release.Name (include "duly.fullname" .) (eq .Chart.Name "duly") -}}
{{- end -}}

{{/* (dict "root" $ "queue" "low"): the name of its Deployment and of what belongs to it. */}}
{{- define "duly.worker.name" -}}
{{- printf "%s-worker-%s" (include "duly.fullname" .root) (include "duly.short" (dict "name" .queue "length" 15)) -}}
{{- end -}}

{{/* The labels of all pods of the release. */}}
{{- define "duly.instanceLabels" -}}
app.kubernetes.io/name: {{ include "duly.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* The labels of selectors, which never change between versions. (dict "root" $ "component" "scheduler") */}}
{{- define "duly.selectorLabels" -}}
{{ include "duly.instanceLabels" .root }}
app.kubernetes.io/component: {{ .component | quote }}
{{- with .queue }}
duly/queue: {{ ternary . (include "duly.short" (dict "name" . "length" 63)) (and (le (len .) 63) (regexMatch "^[a-z0-9]([a-z0-9_.-]*[a-z0-9])?$" .)) | quote }}
{{- end }}
{{- end -}}

{{/* The labels of every object, with the same arguments. */}}
{{- define "duly.labels" -}}
{{ include "duly.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: duly
app.kubernetes.io/managed-by: {{ .root.Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{/*
An object's metadata. (dict "root" $ "component" … "queue" … "name" …), and as needed
"namespace", "labels" and "annotations": more of them.
*/}}
{{- define "duly.metadata" -}}
name: {{ .name | quote }}
{{- with .namespace }}
namespace: {{ . | quote }}
{{- end }}
labels: {{- merge (include "duly.labels" . | fromYaml) (.labels | default dict) .root.Values.commonLabels | toYaml | nindent 2 }}
{{- with merge (deepCopy (.annotations | default dict)) .root.Values.commonAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A pod's labels and annotations. (dict "root" $ "component" … "queue" … "c" <component values>), and as needed "annotations" and "labels": those of a store leave out the version, which would restart it. */}}
{{- define "duly.podMetadata" -}}
labels: {{- merge (include (.labels | default "duly.labels") . | fromYaml) .c.podLabels .root.Values.commonLabels | toYaml | nindent 2 }}
{{- with merge (.annotations | default dict) .c.podAnnotations .root.Values.commonAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* (dict "root" $ "image" .Values.scheduler.image), for a store's "store" its name: a digest wins over a tag. */}}
{{- define "duly.image" -}}
{{- $own := .root.Values.image -}}
{{- $registry := .image.registry | default .root.Values.global.imageRegistry -}}
{{- if and .store (eq .image.registry "docker.io") -}}{{- $registry = .root.Values.global.imageRegistry | default .image.registry -}}{{- end -}}
{{- with $registry | default (ternary "" $own.registry (not (empty .store))) | trimSuffix "/" }}{{ . }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest }}@{{ .image.digest }}
{{- else if .store }}:{{ .image.tag | required (printf "%s.image.tag is empty: set it, or %s.image.digest" .store .store) }}
{{- else }}:{{ .image.tag | default $own.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end -}}

{{/* (dict "root" $ "component" "scheduler" "account" .Values.scheduler.serviceAccount) */}}
{{- define "duly.serviceAccountName" -}}
{{- if .account.create -}}
{{- .account.name | default (printf "%s-%s" (include "duly.fullname" .root) .component) -}}
{{- else -}}
{{- .account.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* The Secrets that hold the passwords of the chart's stores and of the monitor. */}}
{{- define "duly.valkey.secret" -}}
{{- .Values.valkey.auth.existingSecret | default (printf "%s-valkey" (include "duly.fullname" .)) -}}
{{- end -}}
{{- define "duly.postgresql.secret" -}}
{{- .Values.postgresql.auth.existingSecret | default (printf "%s-postgresql" (include "duly.fullname" .)) -}}
{{- end -}}
{{- define "duly.monitor.secret" -}}
{{- .Values.monitor.auth.existingSecret | default (printf "%s-monitor" (include "duly.fullname" .)) -}}
{{- end -}}
