{{/* Who gets in. */}}
{{- define "duly.monitor.access" -}}
{{- .Values.monitor.access | default (ternary "closed" "basic" (and (empty (include "duly.monitor.open" .)) (empty .Values.monitor.users))) -}}
{{- end -}}

{{- define "duly.monitor.env" -}}
{{- $monitor := .Values.monitor -}}
- {name: DULY_MONITOR__HOST, value: {{ .Values.listenAddress | quote }}}
- {name: DULY_MONITOR__PREFIX, value: {{ $monitor.prefix | quote }}}
- {name: DULY_MONITOR__ENVIRONMENT, value: {{ $monitor.environment | quote }}}
- {name: DULY_MONITOR__READ_ONLY, value: {{ $monitor.readOnly | quote }}}
- {name: DULY_MONITOR__UI, value: {{ $monitor.ui | quote }}}
{{- with $monitor.proxies }}
- {name: DULY_MONITOR__PROXY__NETWORKS, value: {{ join "," . | quote }}}
{{- end }}
{{- if include "duly.monitor.open" . }}
- {name: DULY_MONITOR__USERNAME, value: {{ $monitor.auth.username | quote }}}
{{- end }}
- {name: DULY_MONITOR__ACCESS, value: {{ include "duly.monitor.access" . }}}
{{- with $monitor.users }}
- {name: DULY_MONITOR__USERS, value: {{ include "duly.monitor.users" . | fromYaml | toJson | quote }}}
{{- end }}
{{- with $monitor.tokens }}
- {name: DULY_MONITOR__TOKENS, value: {{ toJson . | quote }}}
{{- end }}
{{- with $monitor.roles }}
- {name: DULY_MONITOR__ROLES, value: {{ toJson . | quote }}}
{{- end }}
{{- with $monitor.defaultRole }}
- {name: DULY_MONITOR__ROLE, value: {{ . }}}
{{- end }}
- {name: DULY_MONITOR__SESSION__AGE, value: {{ include "duly.text" $monitor.session.age }}}
{{- if eq $monitor.access "oidc" }}
{{- $oidc := $monitor.oidc }}
- {name: DULY_MONITOR__OIDC__ISSUER, value: {{ $oidc.issuer | quote }}}
- {name: DULY_MONITOR__OIDC__CLIENT_ID, value: {{ $oidc.clientId | quote }}}
- {name: DULY_MONITOR__OIDC__USER_CLAIM, value: {{ $oidc.userClaim | quote }}}
- {name: DULY_MONITOR__OIDC__GROUPS_CLAIM, value: {{ $oidc.groupsClaim | quote }}}
- {name: DULY_MONITOR__OIDC__SCOPES, value: {{ join "," $oidc.scopes | quote }}}
- {name: DULY_MONITOR__OIDC__REDIRECT_URL, value: {{ $oidc.redirectUrl | quote }}}
{{- end }}
{{- end -}}

{{/* The users by name, with the file that has the password of each. */}}
{{- define "duly.monitor.users" -}}
{{- $users := dict -}}
{{- range $name, $user := . -}}
{{- $_ := set $users $name (dict "role" ($user.role | default "viewer") "password_file" (printf "/etc/duly/secrets/monitor-user-%s" $name)) -}}
{{- end -}}
{{- toYaml $users -}}
{{- end -}}

{{/* What the monitor reads from Secrets beside the password: a list as that of duly.secrets. */}}
{{- define "duly.monitor.secrets" -}}
{{- $monitor := .Values.monitor -}}
{{- $found := list -}}
{{- range $name, $user := $monitor.users -}}
{{- $found = append $found (dict "file" (printf "monitor-user-%s" $name) "secret" $user.existingSecret "key" ($user.secretKey | default "password")) -}}
{{- end -}}
{{- with $monitor.session -}}
{{- if .existingSecret -}}
{{- $found = append $found (dict "file" "monitor-session-keys" "secret" .existingSecret "key" .secretKey) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $monitor.access "oidc") $monitor.oidc.existingSecret -}}
{{- $found = append $found (dict "file" "monitor-oidc-secret" "secret" $monitor.oidc.existingSecret "key" $monitor.oidc.secretKey) -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}
