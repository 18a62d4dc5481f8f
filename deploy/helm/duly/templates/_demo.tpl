{{/* The demo's Job: pending orders to find. Its hash is the Job's name. */}}
{{- define "duly.demo.spec" -}}
{{- $c := include "duly.merged" (dict "root" $ "values" .Values.demo) | fromYaml -}}
{{- $x := dict "root" $ "c" $c "component" "demo" "database" true -}}
backoffLimit: 6
template:
  metadata: {{- include "duly.podMetadata" (merge (dict "labels" "duly.selectorLabels") $x) | nindent 4 }}
  spec:
    serviceAccountName: {{ include "duly.serviceAccountName" (dict "root" $ "component" "worker" "account" .Values.worker.serviceAccount) | quote }}
    {{- include "duly.pod" $x | nindent 4 }}
    restartPolicy: OnFailure
    {{- if or (include "duly.orders.waits" .) $c.extraInitContainers }}
    initContainers:
      {{- with $c.extraInitContainers }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      {{- if include "duly.orders.waits" . }}
      {{- include "duly.migrations.wait" $x | nindent 6 }}
      {{- end }}
    {{- end }}
    containers:
      - name: seed
        image: {{ include "duly.image" (dict "root" $ "image" .Values.worker.image) | quote }}
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        args: [seed]
        env: {{- include "duly.env" $x | nindent 10 }}
        {{- include "duly.envFrom" $x | nindent 8 }}
        {{- include "duly.container" $x | nindent 8 }}
        volumeMounts: {{- include "duly.mounts" $x | nindent 10 }}
    volumes: {{- include "duly.volumes" $x | nindent 6 }}
{{- end -}}
