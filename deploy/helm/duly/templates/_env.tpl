{{/* Variables by name, each once: the last of a name wins, since the API refuses two. */}}
{{- define "duly.env.unique" -}}
{{- $seen := dict -}}
{{- $found := list -}}
{{- range $item := . | fromYamlArray | reverse -}}
{{- if not (hasKey $seen $item.name) -}}
{{- $_ := set $seen $item.name true -}}
{{- $found = prepend $found $item -}}
{{- end -}}
{{- end -}}
{{- with $found }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* A variable's value as text: a number of a values file is no float, whatever its size. */}}
{{- define "duly.text" -}}
{{- ternary . (toJson .) (kindIs "string" .) | quote -}}
{{- end -}}

{{/*
What a container reads from Secrets, as a list of file, secret and key. They are files, since a
process can read a file again: a new password reaches it without a restart.
(dict "root" $), and as needed "role" "worker", "database" true, "orders" true and "monitor" true.
*/}}
{{- define "duly.secrets" -}}
{{- $values := .root.Values -}}
{{- $found := list -}}
{{- if .role -}}
{{- $user := include "duly.broker.user" . | fromJson -}}
{{- if $user.secret -}}
{{- $found = append $found (dict "file" "redis-password" "secret" $user.secret "key" $user.key) -}}
{{- end -}}
{{- $broker := $values.externalBroker -}}
{{- if and (not $values.valkey.enabled) (eq $broker.mode "sentinel") $broker.existingSecret $broker.secretKeys.sentinelPassword -}}
{{- $found = append $found (dict "file" "sentinel-password" "secret" $broker.existingSecret "key" $broker.secretKeys.sentinelPassword) -}}
{{- end -}}
{{- end -}}
{{- if .database -}}
{{- if $values.postgresql.enabled -}}
{{- $found = append $found (dict "file" "database-url" "secret" (include "duly.postgresql.secret" .root) "key" $values.postgresql.auth.secretKeys.url) -}}
{{- else -}}
{{- $found = append $found (dict "file" "database-url" "secret" $values.externalDatabase.existingSecret "key" $values.externalDatabase.secretKeys.url) -}}
{{- end -}}
{{- end -}}
{{- if .orders -}}
{{- $found = concat $found (include "duly.orders.secrets" .root | fromYamlArray) -}}
{{- end -}}
{{- if and .monitor (include "duly.monitor.open" .root) -}}
{{- $found = append $found (dict "file" "monitor-password" "secret" (include "duly.monitor.secret" .root) "key" $values.monitor.auth.secretKey) -}}
{{- end -}}
{{- if .monitor -}}
{{- $found = concat $found (include "duly.monitor.secrets" .root | fromYamlArray) -}}
{{- end -}}
{{- if and (include "duly.tracing" .) $values.tracing.headers.existingSecret -}}
{{- $found = append $found (dict "file" "tracing-headers" "secret" $values.tracing.headers.existingSecret "key" $values.tracing.headers.secretKey) -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{/* Whether a component sends spans. (dict "root" $ "component" "worker") */}}
{{- define "duly.tracing" -}}
{{- if and .root.Values.tracing.endpoint (has .component (list "scheduler" "worker")) }}true{{ end -}}
{{- end -}}

{{- define "duly.monitor.open" -}}
{{- if or .Values.monitor.auth.password .Values.monitor.auth.existingSecret }}true{{ end -}}
{{- end -}}

{{/* Where the broker is, and the user of one role. (dict "root" $ "role" "worker") */}}
{{- define "duly.env.broker" -}}
{{- $user := include "duly.broker.user" . | fromJson -}}
{{- if .root.Values.valkey.enabled -}}
- {name: DULY_REDIS__HOST, value: {{ include "duly.fullname" .root }}-valkey}
{{- else -}}
{{- $broker := .root.Values.externalBroker -}}
{{- if eq $broker.mode "sentinel" -}}
- {name: DULY_REDIS__SENTINEL__MASTER, value: {{ $broker.sentinel.master | quote }}}
- {name: DULY_REDIS__SENTINEL__NODES, value: {{ $broker.sentinel.nodes | toJson | quote }}}
{{- with $broker.sentinel.username }}
- {name: DULY_REDIS__SENTINEL__USERNAME, value: {{ . | quote }}}
{{- end }}
{{- else -}}
- {name: DULY_REDIS__HOST, value: {{ $broker.host | quote }}}
- {name: DULY_REDIS__PORT, value: {{ include "duly.text" $broker.port }}}
{{- end }}
- {name: DULY_REDIS__CLUSTER, value: {{ eq $broker.mode "cluster" | quote }}}
- {name: DULY_REDIS__DB, value: {{ include "duly.text" $broker.db }}}
{{- if $broker.tls.enabled }}
- {name: DULY_REDIS__TLS__ENABLED, value: "true"}
- {name: DULY_REDIS__TLS__VERIFY, value: {{ $broker.tls.verify | quote }}}
{{- if $broker.tls.existingSecret }}
- {name: DULY_REDIS__TLS__CA_FILE, value: /etc/duly/broker-tls/ca.crt}
{{- if $broker.tls.clientCertificate }}
- {name: DULY_REDIS__TLS__CERT_FILE, value: /etc/duly/broker-tls/tls.crt}
- {name: DULY_REDIS__TLS__KEY_FILE, value: /etc/duly/broker-tls/tls.key}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- with $user.username }}
- {name: DULY_REDIS__USERNAME, value: {{ . | quote }}}
{{- end }}
{{- end -}}

{{/* Where the orders are. Only workers and the migration receive this. */}}
{{- define "duly.env.database" -}}
- {name: DULY_DATABASE__POOL_SIZE, value: {{ include "duly.text" .root.Values.worker.databasePoolSize }}}
{{- if include "duly.database.tls" . }}
# What libpq takes where the address does not say it.
- {name: PGSSLMODE, value: verify-full}
- {name: PGSSLROOTCERT, value: /etc/duly/database-tls/ca.crt}
{{- if .root.Values.externalDatabase.tls.clientCertificate }}
- {name: PGSSLCERT, value: /etc/duly/database-tls/tls.crt}
- {name: PGSSLKEY, value: /etc/duly/database-tls/tls.key}
{{- end }}
{{- end }}
{{- end -}}
