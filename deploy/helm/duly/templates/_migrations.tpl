{{/* Waits until the orders' schema is the one that the image knows. (dict "root" $ "c" …) */}}
{{- define "duly.migrations.wait" -}}
- name: wait-for-schema
  image: {{ include "duly.image" (dict "root" .root "image" .root.Values.worker.image) }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  args: [migrate, --wait]
  env:
    {{- include "duly.env" . | nindent 4 }}
    {{- include "duly.env.database" .root | nindent 4 }}
  {{- with .c.extraEnvFrom }}
  envFrom: {{- toYaml . | nindent 4 }}
  {{- end }}
  resources: {{- toYaml .root.Values.migrations.resources | nindent 4 }}
  securityContext: {{- toYaml .c.containerSecurityContext | nindent 4 }}
  volumeMounts: {{- include "duly.mounts" . | nindent 4 }}
{{- end -}}

{{/* The Job's spec. Its hash is the Job's name, so that no Job is ever changed. */}}
{{- define "duly.migrations.spec" -}}
{{- $c := include "duly.merged" (dict "root" $ "values" .Values.migrations) | fromYaml -}}
backoffLimit: {{ .Values.migrations.backoffLimit }}
{{- with .Values.migrations.ttlSecondsAfterFinished }}
ttlSecondsAfterFinished: {{ . }}
{{- end }}
template:
  metadata:
    labels: {{- include "duly.selectorLabels" (dict "root" $ "component" "migrations") | nindent 6 }}
    annotations: {{- include "duly.podAnnotations" (dict "root" $ "c" $c) | nindent 6 }}
  spec:
    serviceAccountName: {{ include "duly.serviceAccountName" (dict "root" $ "component" "worker" "account" .Values.worker.serviceAccount) }}
    {{- include "duly.pod" (dict "root" $ "c" $c "selector" "") | nindent 4 }}
    restartPolicy: OnFailure
    {{- if .Values.postgresql.enabled }}
    # Saves a failed start and its growing back-off while our own PostgreSQL makes its first files.
    initContainers:
      - name: wait-for-postgresql
        image: {{ include "duly.image" (dict "root" $ "image" .Values.postgresql.image) }}
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        command: [sh, -c, 'until pg_isready -q -h "$0" -U duly; do sleep 0.5; done', {{ include "duly.fullname" . }}-postgresql]
        resources: {{- toYaml $c.resources | nindent 10 }}
        securityContext: {{- toYaml $c.containerSecurityContext | nindent 10 }}
        volumeMounts: [{name: tmp, mountPath: /tmp}]
    {{- end }}
    containers:
      - name: migrate
        image: {{ include "duly.image" (dict "root" $ "image" .Values.worker.image) }}
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        args: [migrate]
        env:
          {{- include "duly.env" (dict "root" $ "c" $c) | nindent 10 }}
          {{- include "duly.env.database" . | nindent 10 }}
        resources: {{- toYaml $c.resources | nindent 10 }}
        securityContext: {{- toYaml $c.containerSecurityContext | nindent 10 }}
        volumeMounts: {{- include "duly.mounts" (dict "root" $ "c" $c) | nindent 10 }}
    volumes: {{- include "duly.volumes" (dict "root" $ "c" $c) | nindent 6 }}
{{- end -}}
