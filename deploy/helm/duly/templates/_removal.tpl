{{/* The pod of the Job that asks, before an upgrade, whether the queues that go hold tasks. (dict "root" $ "component" … "c" … "role" …) */}}
{{- define "duly.removal.pod" -}}
{{- $values := .root.Values.queueRemoval -}}
{{- $wait := ternary (printf "%ds" (int64 $values.drainSeconds)) "0s" (eq $values.policy "drain") -}}
{{- include "duly.pod" . }}
restartPolicy: Never
{{- with .c.extraInitContainers }}
initContainers: {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: drained
    image: {{ include "duly.service.image" (dict "root" .root "component" "worker") | quote }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command: [duly, queues, drained, --declared-before=/etc/duly/queues/queues, {{ printf "--wait=%s" $wait | quote }}]
    env: {{- include "duly.env" (merge (dict "more" (list (dict "name" "DULY_QUEUES" "value" (include "duly.queues" .root)) | toYaml)) .) | nindent 6 }}
    {{- include "duly.envFrom" . | nindent 4 }}
    {{- include "duly.container" . | nindent 4 }}
    volumeMounts:
      {{- include "duly.mounts" . | nindent 6 }}
      - {name: queues, mountPath: /etc/duly/queues, readOnly: true}
volumes:
  {{- include "duly.volumes" . | nindent 2 }}
  - {name: queues, configMap: {name: {{ include "duly.fullname" .root }}-queues}}
{{- end -}}

{{/*
A pod that starts without the ConfigMaps and Secrets that it names: a hook before an upgrade runs before
what the upgrade adds is there, and would wait for it until Helm gives up. Takes a pod's spec, as YAML.
*/}}
{{- define "duly.optional" -}}
{{- $pod := fromYaml . -}}
{{- $found := list -}}
{{- range $volume := $pod.volumes -}}
{{- $found = concat $found (list $volume.configMap $volume.secret) -}}
{{- range $source := ($volume.projected | default dict).sources -}}
{{- $found = concat $found (list $source.configMap $source.secret) -}}
{{- end -}}
{{- end -}}
{{- range $container := concat $pod.containers ($pod.initContainers | default list) -}}
{{- range $container.envFrom -}}
{{- $found = concat $found (list .configMapRef .secretRef) -}}
{{- end -}}
{{- range $container.env -}}
{{- with .valueFrom -}}
{{- $found = concat $found (list .configMapKeyRef .secretKeyRef) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $reference := $found -}}
{{- if $reference -}}{{- $_ := set $reference "optional" true -}}{{- end -}}
{{- end -}}
{{- toYaml $pod -}}
{{- end -}}
