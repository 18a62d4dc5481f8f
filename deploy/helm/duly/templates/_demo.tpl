{{/* The demo's Job: pending orders to find. Its hash is the Job's name. */}}
{{- define "duly.demo.spec" -}}
{{- $c := include "duly.merged" (dict "root" $ "values" .Values.demo) | fromYaml -}}
backoffLimit: 6
template:
  metadata:
    labels: {{- include "duly.selectorLabels" (dict "root" $ "component" "demo") | nindent 6 }}
    annotations: {{- include "duly.podAnnotations" (dict "root" $ "c" $c) | nindent 6 }}
  spec:
    serviceAccountName: {{ include "duly.serviceAccountName" (dict "root" $ "component" "worker" "account" .Values.worker.serviceAccount) }}
    {{- include "duly.pod" (dict "root" $ "c" $c "selector" "") | nindent 4 }}
    restartPolicy: OnFailure
    initContainers:
      {{- include "duly.migrations.wait" (dict "root" $ "c" $c) | nindent 6 }}
    containers:
      - name: seed
        image: {{ include "duly.image" (dict "root" $ "image" .Values.worker.image) }}
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        args: [seed]
        env:
          {{- include "duly.env" (dict "root" $ "c" $c) | nindent 10 }}
          {{- include "duly.env.database" . | nindent 10 }}
        resources: {{- toYaml .Values.migrations.resources | nindent 10 }}
        securityContext: {{- toYaml $c.containerSecurityContext | nindent 10 }}
        volumeMounts: {{- include "duly.mounts" (dict "root" $ "c" $c) | nindent 10 }}
    volumes: {{- include "duly.volumes" (dict "root" $ "c" $c) | nindent 6 }}
{{- end -}}
