{{/* `null` removes a default, and with it what the templates read. files/keys.txt names what has to stay. */}}
{{- define "duly.check.nulls" -}}
{{- range $path := .Files.Lines "files/keys.txt" -}}
{{- $at := $.Values -}}
{{- range $part := splitList "." $path -}}
{{- if and (kindIs "map" $at) (hasKey $at $part) -}}{{- $at = index $at $part -}}{{- else if $part -}}{{- $at = index dict "none" -}}{{- end -}}
{{- end -}}
{{- if kindIs "invalid" $at -}}
{{- fail (printf "%s is null, which removes its default: leave it out, or give it a value" $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* In a parent chart, an alias is this chart's name. Were it the default, an upgrade would rename what has an alias already. */}}
{{- define "duly.check.names" -}}
{{- if and (ne .Chart.Name "duly") (not .Values.nameOverride) -}}
{{- fail (printf "%s.nameOverride: a second duly of this release would have the same names and select the same pods; set it to %s, or to duly where this one is installed with that name" .Chart.Name .Chart.Name) -}}
{{- end -}}
{{- if and .Values.listenAddress (not (regexMatch "^[0-9a-fA-F.:]+$" .Values.listenAddress)) -}}
{{- fail (printf "listenAddress: %s is no address; use 0.0.0.0, or :: where pods have IPv6 addresses only" .Values.listenAddress) -}}
{{- end -}}
{{- end -}}

{{- define "duly.check.stores" -}}
{{- $broker := .Values.externalBroker -}}
{{- if .Values.valkey.enabled -}}
{{- range $key, $value := dict "host" $broker.host "mode" (ne $broker.mode "standalone") "port" (ne (int64 $broker.port) 6379) "sentinel.nodes" $broker.sentinel.nodes "sentinel.master" $broker.sentinel.master "existingSecret" $broker.existingSecret "tls.enabled" $broker.tls.enabled "username" $broker.username "users" $broker.users -}}
{{- if $value -}}
{{- fail (printf "externalBroker.%s is set, and so is valkey.enabled: set valkey.enabled=false to use your own broker, or leave externalBroker out" $key) -}}
{{- end -}}
{{- end -}}
{{- else if eq $broker.mode "sentinel" -}}
{{- if not (and $broker.sentinel.master $broker.sentinel.nodes) -}}
{{- fail "externalBroker.mode is sentinel: set externalBroker.sentinel.master and externalBroker.sentinel.nodes (or valkey.enabled=true)" -}}
{{- end -}}
{{- if $broker.host -}}
{{- fail (printf "externalBroker.host is %s, and externalBroker.mode is sentinel: the sentinels name the server; leave host out, or set mode to what it is" $broker.host) -}}
{{- end -}}
{{- else if not $broker.host -}}
{{- fail (printf "valkey.enabled is false: set externalBroker.host to your server (mode %s), or valkey.enabled=true" $broker.mode) -}}
{{- else if $broker.sentinel.master -}}
{{- fail (printf "externalBroker.sentinel.master is set, and externalBroker.mode is %s: set externalBroker.mode=sentinel, or leave sentinel out" $broker.mode) -}}
{{- end -}}
{{- if regexMatch "^[^:]+:[0-9]+$" $broker.host -}}
{{- fail (printf "externalBroker.host: %s has a port in it; set externalBroker.port to that, and host to the name alone" $broker.host) -}}
{{- end -}}
{{- if and (eq $broker.mode "cluster") (ne (int $broker.db) 0) -}}
{{- fail "externalBroker.db must be 0 in mode cluster: a Redis Cluster has one database" -}}
{{- end -}}
{{- if and $broker.tls.existingSecret (not $broker.tls.enabled) -}}
{{- fail "externalBroker.tls.existingSecret is set, but externalBroker.tls.enabled is false, and passwords would be sent in plain text: set externalBroker.tls.enabled=true" -}}
{{- end -}}
{{- if and $broker.tls.clientCertificate (not $broker.tls.existingSecret) -}}
{{- fail "externalBroker.tls.clientCertificate: set externalBroker.tls.existingSecret to a Secret with tls.crt and tls.key" -}}
{{- end -}}
{{- range $role, $user := $broker.users -}}
{{- if not ($user.existingSecret | default $broker.existingSecret) -}}
{{- fail (printf "externalBroker.users.%s: set its existingSecret, or externalBroker.existingSecret, to a Secret with its password" $role) -}}
{{- end -}}
{{- end -}}
{{- range $component := list "monitor" "toolbox" -}}
{{- $c := get $.Values $component -}}
{{- if and $c.enabled (eq $c.role "viewer") (not $.Values.valkey.enabled) (not (get $broker.users "viewer")) -}}
{{- fail (printf "%s.role is viewer: set externalBroker.users.viewer, since the user of all roles may change everything" $component) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.valkey.enabled .Values.valkey.auth.existingSecret -}}
{{- if .Values.valkey.auth.passwords -}}
{{- fail "valkey.auth.passwords and valkey.auth.existingSecret are both set: leave one of them out" -}}
{{- end -}}
{{- $found := get (lookup "v1" "Secret" .Release.Namespace .Values.valkey.auth.existingSecret) "data" -}}
{{- range $role := include "duly.roles" . | fromJsonArray -}}
{{- if and $found (not (get $found $role)) -}}
{{- fail (printf "valkey.auth.existingSecret: the Secret %s has no password under the key %s; it needs one for each role: %s" $.Values.valkey.auth.existingSecret $role (include "duly.roles" $ | fromJsonArray | join ", ")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.valkey.auth.defaultUser.enabled (has .Values.valkey.auth.defaultUser.secretKey (include "duly.roles" . | fromJsonArray)) -}}
{{- fail (printf "valkey.auth.defaultUser.secretKey: %s is the key of the role's password; use another one" .Values.valkey.auth.defaultUser.secretKey) -}}
{{- end -}}
{{- $database := .Values.externalDatabase -}}
{{- if and .Values.postgresql.enabled (or $database.existingSecret $database.tls.existingSecret) -}}
{{- fail "externalDatabase is set, and so is postgresql.enabled: set postgresql.enabled=false to use your own database, or leave externalDatabase out" -}}
{{- end -}}
{{- if and $database.tls.clientCertificate (not $database.tls.existingSecret) -}}
{{- fail "externalDatabase.tls.clientCertificate: set externalDatabase.tls.existingSecret to a Secret with ca.crt, tls.crt and tls.key" -}}
{{- end -}}
{{- $keys := .Values.postgresql.auth.secretKeys -}}
{{- if eq $keys.password $keys.url -}}
{{- fail (printf "postgresql.auth.secretKeys: password and url are both %s; name two keys" $keys.url) -}}
{{- end -}}
{{- end -}}

{{/* An alert that is named here and does not exist would be left unchanged without a word. */}}
{{- define "duly.check.alerts" -}}
{{- $known := list -}}
{{- range $path, $_ := .Files.Glob "files/rules/*.yaml" -}}
{{- range $group := ($.Files.Get $path | fromYaml).groups -}}
{{- range $rule := $group.rules -}}{{- $known = append $known ($rule.alert | default "") -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- range $key := list "disabled" "overrides" -}}
{{- range $alert, $_ := get $.Values.metrics.prometheusRule $key -}}
{{- if not (has $alert $known) -}}
{{- fail (printf "metrics.prometheusRule.%s: there is no alert %s; there are %s" $key $alert (compact $known | sortAlpha | join ", ")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
