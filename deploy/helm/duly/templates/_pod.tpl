{{/* A component's values on top of the defaults. (dict "root" $ "values" .Values.scheduler) */}}
{{- define "duly.merged" -}}
{{- mergeOverwrite (deepCopy .root.Values.defaults) (deepCopy .values) | toYaml -}}
{{- end -}}

{{/* A pod's annotations: a new password starts new pods. (dict "root" $ "c" <component values>) */}}
{{- define "duly.podAnnotations" -}}
duly/secrets: {{ list .root.Values.valkey.auth .root.Values.postgresql.auth .root.Values.externalBroker .root.Values.externalDatabase .root.Values.monitor.auth | toJson | sha256sum | trunc 16 }}
{{- with .c.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What every pod has, ours and the stores'. (dict "root" $ "c" <component values> "selector" <labels>) */}}
{{- define "duly.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- toYaml .c.podSecurityContext | nindent 2 }}
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .c.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .c.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .c.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .c.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
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

{{/* The services' probes. Liveness asks the event loop only: no outage of a store restarts a pod. */}}
{{- define "duly.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: {{ . }}}
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: 120
livenessProbe:
  httpGet: {path: /livez, port: {{ . }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: {{ . }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}

{{/* What a service's container mounts, and the pod's volumes for it. (dict "root" $ "c" …) */}}
{{- define "duly.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if and (not .root.Values.valkey.enabled) .root.Values.externalBroker.tls.existingSecret }}
- {name: broker-tls, mountPath: /etc/duly/broker-tls, readOnly: true}
{{- end }}
{{- with .c.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "duly.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- if and (not .root.Values.valkey.enabled) .root.Values.externalBroker.tls.existingSecret }}
- name: broker-tls
  secret: {secretName: {{ .root.Values.externalBroker.tls.existingSecret }}, defaultMode: 0440}
{{- end }}
{{- with .c.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
