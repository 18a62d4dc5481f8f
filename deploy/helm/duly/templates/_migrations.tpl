{{/* Waits until the orders' schema is the one that the image knows. (dict "root" $ "c" …) */}}
{{- define "duly.migrations.wait" -}}
{{- $c := mergeOverwrite (deepCopy .c) (dict "resources" .root.Values.migrations.resources) -}}
{{- /* The API refuses hooks of a container that ends; merging nothing would leave them. */ -}}
{{- $_ := set $c "lifecycle" dict -}}
{{- $x := dict "root" .root "c" $c "database" true -}}
- name: wait-for-schema
  image: {{ include "duly.image" (dict "root" .root "image" .root.Values.worker.image) | quote }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  args: [migrate, --wait]
  env: {{- include "duly.env" $x | nindent 4 }}
  {{- include "duly.envFrom" $x | nindent 2 }}
  {{- include "duly.container" $x | nindent 2 }}
  volumeMounts: {{- include "duly.mounts" $x | nindent 4 }}
{{- end -}}

{{/* The Job's spec. Its hash is the Job's name, so that no Job is ever changed. */}}
{{- define "duly.migrations.spec" -}}
{{- $c := include "duly.merged" (dict "root" $ "values" .Values.migrations) | fromYaml -}}
{{- $own := not (empty .Values.app.name) -}}
{{- $x := dict "root" $ "c" $c "component" "migrations" "database" (not $own) "app" $own -}}
backoffLimit: {{ int64 .Values.migrations.backoffLimit }}
{{- with .Values.migrations.ttlSecondsAfterFinished }}
ttlSecondsAfterFinished: {{ int64 . }}
{{- end }}
template:
  metadata: {{- include "duly.podMetadata" (merge (dict "labels" "duly.selectorLabels") $x) | nindent 4 }}
  spec:
    serviceAccountName: {{ include "duly.serviceAccountName" (dict "root" $ "component" "worker" "account" .Values.worker.serviceAccount) | quote }}
    {{- include "duly.pod" $x | nindent 4 }}
    restartPolicy: OnFailure
    {{- if or .Values.postgresql.enabled $c.extraInitContainers }}
    initContainers:
      {{- with $c.extraInitContainers }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      {{- if .Values.postgresql.enabled }}
      # Saves a failed start and its growing back-off while our own PostgreSQL makes its first files.
      - name: wait-for-postgresql
        image: {{ include "duly.image" (dict "root" $ "image" .Values.postgresql.image "store" "postgresql") | quote }}
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        command: [sh, -c, 'until pg_isready -q -h "$0" -U duly; do sleep 0.5; done', {{ include "duly.fullname" . }}-postgresql]
        resources: {{- toYaml $c.resources | nindent 10 }}
        securityContext: {{- toYaml $c.containerSecurityContext | nindent 10 }}
        volumeMounts: [{name: tmp, mountPath: /tmp}]
      {{- end }}
    {{- end }}
    containers:
      - name: migrate
        image: {{ include "duly.service.image" (dict "root" $ "component" "worker") | quote }}
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        {{- if $own }}
        command: {{- toYaml .Values.app.migrate | nindent 10 }}
        {{- else }}
        args: [migrate]
        {{- end }}
        env: {{- include "duly.env" $x | nindent 10 }}
        {{- include "duly.envFrom" $x | nindent 8 }}
        {{- include "duly.container" $x | nindent 8 }}
        volumeMounts:
          {{- include "duly.mounts" $x | nindent 10 }}
          {{- if $own }}
          {{- include "duly.app.mounts" $ | nindent 10 }}
          {{- end }}
    volumes:
      {{- include "duly.volumes" $x | nindent 6 }}
      {{- if $own }}
      {{- include "duly.app.volumes" $ | nindent 6 }}
      {{- end }}
{{- end -}}
