{{- define "duly.worker.env" -}}
- {name: DULY_WORKER__DRAIN, value: "{{ int64 .Values.worker.drainSeconds }}s"}
- {name: DULY_WORKER__LEASE, value: "{{ int64 .Values.worker.leaseSeconds }}s"}
- {name: DULY_METRICS__HOST, value: {{ .Values.listenAddress | quote }}}
- {name: DULY_METRICS__PORT, value: "9464"}
{{- if not .Values.app.name }}
{{ include "duly.env.orders" . }}
{{- end }}
{{- end -}}

{{/*
A Deployment's replicas. An autoscaler sets them, but a manifest that leaves them out has them reset to
one by the upgrade that turns it on: so what runs is written, where helm can see it. The upgrade that
turns it off takes away no pods either; the next one sets what the values say.
Once an autoscaler has set the field it owns it, and another value from here is a conflict that fails
the upgrade: while it is on the field is left out, and afterwards what runs is written.
(dict "root" $ "queue" … "c" <component values> "name" <of the Deployment>)
*/}}
{{- define "duly.worker.replicas" -}}
{{- $found := lookup "apps/v1" "Deployment" .root.Release.Namespace .name | default dict -}}
{{- $live := $found.spec | default dict -}}
{{- $scaled := false -}}
{{- range ($found.metadata | default dict).managedFields -}}
{{- if and (eq (.manager | default "") "kube-controller-manager") (eq (.subresource | default "") "scale") -}}
{{- $scaled = true -}}
{{- end -}}
{{- end -}}
{{- if or .c.keda.enabled .c.hpa.enabled -}}
{{- if and (hasKey $live "replicas") (not $scaled) }}replicas: {{ int64 $live.replicas }}{{ end -}}
{{- else if and $scaled (hasKey $live "replicas") -}}
replicas: {{ int64 $live.replicas }}
{{- else -}}
{{- $scaler := lookup "autoscaling/v2" "HorizontalPodAutoscaler" .root.Release.Namespace .name -}}
{{- if not $scaler -}}
{{- $scaler = lookup "autoscaling/v2" "HorizontalPodAutoscaler" .root.Release.Namespace (printf "keda-hpa-%s" .name) -}}
{{- end -}}
replicas: {{ ternary (max .c.replicas ($live.replicas | default 0)) (int64 .c.replicas) (not (empty $scaler)) }}
{{- end -}}
{{- end -}}
