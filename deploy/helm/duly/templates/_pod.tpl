{{/* A component's values on top of the defaults. (dict "root" $ "values" .Values.scheduler) */}}
{{- define "duly.merged" -}}
{{- $c := mergeOverwrite (deepCopy .root.Values.defaults) (deepCopy .values) -}}
{{- if ne $c.updateStrategy.type "RollingUpdate" -}}
{{- $_ := unset $c.updateStrategy "rollingUpdate" -}}
{{- end -}}
{{- include "duly.pruned" $c -}}
{{- $c | toYaml -}}
{{- end -}}

{{/* Takes away what is null, in place: a default that was removed, which the API would refuse or read otherwise. */}}
{{- define "duly.pruned" -}}
{{- range $key, $value := . -}}
{{- if kindIs "invalid" $value }}{{ $_ := unset $ $key }}{{ else if kindIs "map" $value }}{{ include "duly.pruned" $value }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Seconds that a container sleeps before it is told to stop, which its grace period has to hold. */}}
{{- define "duly.sleep" -}}
{{- dig "preStop" "sleep" "seconds" 0 (.lifecycle | default dict) -}}
{{- end -}}

{{/* A queue's values on top of those of all queues. (dict "root" $ "queue" <values>) */}}
{{- define "duly.queue" -}}
{{- $own := mergeOverwrite (deepCopy .root.Values.worker.defaults) (deepCopy .queue) -}}
{{- include "duly.merged" (dict "root" .root "values" $own) -}}
{{- end -}}

{{/* What every pod has, of the services and of the stores. (dict "root" $ "c" <component values> "selector" <labels>) */}}
{{- define "duly.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- toYaml .c.podSecurityContext | nindent 2 }}
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $key := list "priorityClassName" "runtimeClassName" "dnsPolicy" "dnsConfig" "hostAliases" "nodeSelector" "affinity" "tolerations" }}
{{- with get $.c $key }}
{{ dict $key . | toYaml }}
{{- end }}
{{- end }}
{{- if .c.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml .c.topologySpreadConstraints | nindent 2 }}
{{- else if .selector }}
topologySpreadConstraints:
  {{- $selector := .selector }}
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- $selector | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end -}}

{{/* What every Deployment has. (dict "c" <component values>) */}}
{{- define "duly.deployment" -}}
revisionHistoryLimit: {{ int64 .c.revisionHistoryLimit }}
minReadySeconds: {{ int64 .c.minReadySeconds }}
strategy: {{- toYaml .c.updateStrategy | nindent 2 }}
{{- end -}}

{{/* The end of a container: what a component may have of its own. (dict "c" <component values>) */}}
{{- define "duly.container" -}}
{{- with .c.lifecycle }}
lifecycle: {{- toYaml . | nindent 2 }}
{{- end }}
resources: {{- toYaml .c.resources | nindent 2 }}
securityContext: {{- toYaml .c.containerSecurityContext | nindent 2 }}
{{- end -}}

{{/*
What a service's container mounts, and the pod's volumes for it. (dict "root" $ "c" …), and as needed
"role" (that of the broker), "database" true and "monitor" true.
*/}}
{{- define "duly.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if include "duly.secrets" . | fromYamlArray }}
- {name: secrets, mountPath: /etc/duly/secrets, readOnly: true}
{{- end }}
{{- if include "duly.broker.tls" . }}
- {name: broker-tls, mountPath: /etc/duly/broker-tls, readOnly: true}
{{- end }}
{{- if include "duly.database.tls" . }}
- {name: database-tls, mountPath: /etc/duly/database-tls, readOnly: true}
{{- end }}
{{- if include "duly.log.levels" . }}
- {name: log, mountPath: /etc/duly/log, readOnly: true}
{{- end }}
{{- with .c.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "duly.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- with include "duly.secrets" . | fromYamlArray }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range . }}
      - secret: {name: {{ .secret | quote }}, items: [{key: {{ .key | quote }}, path: {{ .file }}}]}
      {{- end }}
{{- end }}
{{- with include "duly.broker.tls" . }}
- name: broker-tls
  secret: {secretName: {{ . | quote }}, defaultMode: 0440}
{{- end }}
{{- with include "duly.database.tls" . }}
- name: database-tls
  secret: {secretName: {{ . | quote }}, defaultMode: 0440}
{{- end }}
{{- if include "duly.log.levels" . }}
- name: log
  configMap: {name: {{ include "duly.fullname" .root }}-log, defaultMode: 0444}
{{- end }}
{{- with .c.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* How many pods may be gone: a number, 0 too, or a percentage. */}}
{{- define "duly.budget" -}}
{{- if kindIs "string" . }}{{ quote . }}{{ else }}{{ int64 . }}{{ end -}}
{{- end -}}
