{{/*
Who each role is at the broker. A pod gets the user and the password of its own role, and no other.
*/}}
{{- define "duly.roles" -}}
{{- list "producer" "scheduler" "worker" "monitor" "viewer" "keda" | toJson -}}
{{- end -}}

{{/* A role's user, as JSON: username, and the Secret and key of its password; "" for none. (dict "root" $ "role" "worker") */}}
{{- define "duly.broker.user" -}}
{{- $values := .root.Values -}}
{{- if $values.valkey.enabled -}}
{{- dict "username" (printf "duly-%s" .role) "secret" (include "duly.valkey.secret" .root) "key" .role | toJson -}}
{{- else -}}
{{- $broker := $values.externalBroker -}}
{{- $own := get $broker.users .role | default dict -}}
{{- $secret := get $own "existingSecret" | default $broker.existingSecret -}}
{{- $key := ternary (get $own "secretKey" | default .role) $broker.secretKeys.password (not (empty $own)) -}}
{{- if empty $key -}}{{- $secret = "" -}}{{- end -}}
{{- dict "username" (get $own "username" | default $broker.username) "secret" $secret "key" $key | toJson -}}
{{- end -}}
{{- end -}}

{{/*
The passwords of the chart's own Valkey by key of its Secret, as JSON: those of the values, else those that
the Secret has, else new ones. New ones are made once for all templates of a rendering.
*/}}
{{- define "duly.valkey.passwords" -}}
{{- $auth := .Values.valkey.auth -}}
{{- if not (hasKey $auth "made") -}}
{{- $kept := get (lookup "v1" "Secret" .Release.Namespace (include "duly.valkey.secret" .)) "data" | default dict -}}
{{- $made := dict -}}
{{- range $role := include "duly.roles" . | fromJsonArray -}}
{{- $old := get $kept $role | default "" | b64dec -}}
{{- $_ := set $made $role (get $auth.passwords $role | default $old | default (randAlphaNum 32)) -}}
{{- end -}}
{{- with $auth.defaultUser -}}
{{- if .enabled -}}
{{- $old := get $kept .secretKey | default "" | b64dec -}}
{{- $_ := set $made .secretKey (.password | default $old | required "valkey.auth.defaultUser.enabled: set valkey.auth.defaultUser.password, since there is no Secret of an earlier release that has it") -}}
{{- end -}}
{{- end -}}
{{- $_ := set $auth "made" $made -}}
{{- end -}}
{{- $auth.made | toJson -}}
{{- end -}}

{{/* The Secrets with certificates that a pod mounts; "" for none. (dict "root" $ "role" … "database" …) */}}
{{- define "duly.broker.tls" -}}
{{- if and .role (not .root.Values.valkey.enabled) -}}{{- .root.Values.externalBroker.tls.existingSecret -}}{{- end -}}
{{- end -}}
{{- define "duly.database.tls" -}}
{{- if and .database (not .root.Values.postgresql.enabled) -}}{{- .root.Values.externalDatabase.tls.existingSecret -}}{{- end -}}
{{- end -}}

{{/* A trigger of KEDA that reads a length at the broker. (dict "root" $ "name" … "of" "-streams" or "" "metadata" …) */}}
{{- define "duly.keda.trigger" -}}
{{- $root := .root -}}
{{- $broker := $root.Values.externalBroker -}}
{{- $mode := ternary "standalone" $broker.mode $root.Values.valkey.enabled -}}
{{- $host := $broker.host -}}
{{- if contains ":" $host }}{{ $host = printf "[%s]" ($host | trimPrefix "[" | trimSuffix "]") }}{{ end -}}
- type: redis{{ get (dict "sentinel" "-sentinel" "cluster" "-cluster") $mode }}{{ .of }}
  name: {{ .name }}
  metadata:
    {{- toYaml .metadata | nindent 4 }}
    {{- if $root.Values.valkey.enabled }}
    address: {{ printf "%s-valkey.%s.svc:6379" (include "duly.fullname" $root) $root.Release.Namespace | quote }}
    {{- else if eq $mode "sentinel" }}
    addresses: {{ join "," $broker.sentinel.nodes | quote }}
    sentinelMaster: {{ $broker.sentinel.master | quote }}
    databaseIndex: {{ include "duly.text" $broker.db }}
    {{- else if eq $mode "cluster" }}
    addresses: {{ printf "%s:%d" $host (int64 $broker.port) | quote }}
    {{- else }}
    address: {{ printf "%s:%d" $host (int64 $broker.port) | quote }}
    databaseIndex: {{ include "duly.text" $broker.db }}
    {{- end }}
    {{- with (include "duly.broker.user" (dict "root" $root "role" "keda") | fromJson).username }}
    username: {{ . | quote }}
    {{- end }}
    {{- if and (eq $mode "sentinel") $broker.sentinel.username }}
    sentinelUsername: {{ $broker.sentinel.username | quote }}
    {{- end }}
    {{- if and (not $root.Values.valkey.enabled) $broker.tls.enabled }}
    enableTLS: "true"
    unsafeSsl: {{ not $broker.tls.verify | quote }}
    {{- end }}
  {{- if include "duly.keda.secrets" $root | fromYamlArray }}
  authenticationRef: {name: {{ include "duly.fullname" $root }}-broker}
  {{- end }}
{{- end -}}

{{/* What KEDA reads from Secrets to log in, as a list; empty for a broker without a password and a private authority. */}}
{{- define "duly.keda.secrets" -}}
{{- $user := include "duly.broker.user" (dict "root" . "role" "keda") | fromJson -}}
{{- $broker := .Values.externalBroker -}}
{{- $found := list -}}
{{- if $user.secret -}}
{{- $found = append $found (dict "parameter" "password" "name" $user.secret "key" $user.key) -}}
{{- end -}}
{{- if not .Values.valkey.enabled -}}
{{- if and (eq $broker.mode "sentinel") $broker.existingSecret $broker.secretKeys.sentinelPassword -}}
{{- $found = append $found (dict "parameter" "sentinelPassword" "name" $broker.existingSecret "key" $broker.secretKeys.sentinelPassword) -}}
{{- end -}}
{{- if $broker.tls.existingSecret -}}
{{- range $parameter, $key := ternary (dict "ca" "ca.crt" "cert" "tls.crt" "key" "tls.key") (dict "ca" "ca.crt") $broker.tls.clientCertificate -}}
{{- $found = append $found (dict "parameter" $parameter "name" $broker.tls.existingSecret "key" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}
