{{- define "duly.check.monitor" -}}
{{- if and .Values.monitor.ingress.enabled (not .Values.monitor.ingress.host) -}}
{{- fail "monitor.ingress.enabled: set monitor.ingress.host" -}}
{{- end -}}
{{- if and .Values.monitor.httpRoute.enabled (not .Values.monitor.httpRoute.parentRefs) -}}
{{- fail "monitor.httpRoute.enabled: set monitor.httpRoute.parentRefs to a Gateway" -}}
{{- end -}}
{{- if and .Values.monitor.auth.password .Values.monitor.auth.existingSecret -}}
{{- fail "monitor.auth.password and monitor.auth.existingSecret are both set: leave one of them out" -}}
{{- end -}}
{{- $oidc := .Values.monitor.oidc -}}
{{- if and (eq .Values.monitor.access "oidc") (not (and $oidc.issuer $oidc.clientId)) -}}
{{- fail "monitor.access is oidc: set monitor.oidc.issuer and monitor.oidc.clientId" -}}
{{- end -}}
{{- with $oidc.redirectUrl -}}
{{- if not (regexMatch "^https?://[^/]+/" .) -}}
{{- fail (printf "monitor.oidc.redirectUrl: %s is no address such as https://duly.example.com/monitoring/oidc/callback" .) -}}
{{- end -}}
{{- end -}}
{{- range .Values.monitor.proxies -}}
{{- if not (regexMatch "^[0-9a-fA-F.:]+(/[0-9]+)?$" .) -}}
{{- fail (printf "monitor.proxies: %s is no network; name addresses, such as 10.0.0.0/8" .) -}}
{{- end -}}
{{- end -}}
{{- range $role, $groups := .Values.monitor.roles -}}
{{- if not $groups -}}
{{- fail (printf "monitor.roles.%s has no group: name one, or leave the role out" $role) -}}
{{- end -}}
{{- end -}}
{{- if regexMatch "^0+([.]0+)? ?(ms|s|m|h|d)?$" (toString .Values.monitor.session.age) -}}
{{- fail (printf "monitor.session.age: %v would end each log-in at once; use a time such as 12h" .Values.monitor.session.age) -}}
{{- end -}}
{{- if and (include "duly.monitor.open" .) (hasKey .Values.monitor.users .Values.monitor.auth.username) -}}
{{- fail (printf "monitor.users.%s is the name in monitor.auth.username, whose user may do everything: use another name for one of them" .Values.monitor.auth.username) -}}
{{- end -}}
{{- include "duly.check.access" . -}}
{{- $service := .Values.monitor.service -}}
{{- if eq $service.type "ClusterIP" -}}
{{- range $key := list "nodePort" "loadBalancerClass" "loadBalancerSourceRanges" "externalTrafficPolicy" -}}
{{- if get $service $key -}}
{{- fail (printf "monitor.service.%s: a Service of the type ClusterIP has none; set monitor.service.type" $key) -}}
{{- end -}}
{{- end -}}
{{- else if and (eq $service.type "NodePort") (or $service.loadBalancerClass $service.loadBalancerSourceRanges) -}}
{{- fail "monitor.service.loadBalancerClass and loadBalancerSourceRanges: set monitor.service.type=LoadBalancer" -}}
{{- end -}}
{{- end -}}

{{/* The monitor ends at once where nobody could get in. What variables of your own tell it is not seen here. */}}
{{- define "duly.check.access" -}}
{{- $monitor := .Values.monitor -}}
{{- $c := include "duly.merged" (dict "root" $ "values" $monitor) | fromYaml -}}
{{- if and $monitor.enabled (not $c.extraEnvFrom) -}}
{{- if and (eq $monitor.access "basic") (not $monitor.users) (not (include "duly.monitor.open" .)) -}}
{{- fail "monitor.access is basic: set monitor.auth.password, monitor.auth.existingSecret or monitor.users" -}}
{{- else if and (eq $monitor.access "token") (not $monitor.tokens) -}}
{{- fail "monitor.access is token: set monitor.tokens" -}}
{{- else if and (eq $monitor.access "proxy") (not $monitor.proxies) -}}
{{- fail "monitor.access is proxy: set monitor.proxies to the networks of the proxy" -}}
{{- else if and (eq $monitor.access "oidc") (not $monitor.roles) (not $monitor.defaultRole) -}}
{{- fail "monitor.access is oidc: set monitor.roles or monitor.defaultRole, without which nobody may see anything" -}}
{{- else if and (eq $monitor.access "oidc") (not $monitor.oidc.existingSecret) (not $monitor.session.existingSecret) -}}
{{- fail "monitor.access is oidc: set monitor.oidc.existingSecret or monitor.session.existingSecret, without which nothing can sign sessions" -}}
{{- else if and (eq $monitor.access "oidc") (not (hasPrefix "https://" $monitor.oidc.issuer)) -}}
{{- fail (printf "monitor.oidc.issuer: %s is no address with https" $monitor.oidc.issuer) -}}
{{- else if and (eq $monitor.access "oidc") (not (has "openid" $monitor.oidc.scopes)) -}}
{{- fail "monitor.oidc.scopes: add openid, without which there is no ID token" -}}
{{- end -}}
{{- end -}}
{{- end -}}
