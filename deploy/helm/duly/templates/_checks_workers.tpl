{{- define "duly.check.app" -}}
{{- $app := .Values.app -}}
{{- if and (include "duly.orders.database" .) (not (or .Values.postgresql.enabled .Values.externalDatabase.existingSecret)) -}}
{{- fail "postgresql.enabled is false: set externalDatabase.existingSecret to a Secret with the key url, or postgresql.enabled=true" -}}
{{- end -}}
{{- if $app.name -}}
{{- if .Values.demo.enabled -}}
{{- fail "demo.enabled: its orders are for the check of pending orders; leave app.name empty, or turn the demo off" -}}
{{- end -}}
{{- else if or $app.image.repository $app.settings $app.migrate $app.extraEnv $app.extraEnvFrom -}}
{{- fail "app.image, app.settings, app.migrate, app.extraEnv and app.extraEnvFrom belong to your own application: set app.name, as module:name" -}}
{{- end -}}
{{- if and $app.image.repository (not (or $app.image.tag $app.image.digest)) -}}
{{- fail "app.image.repository: set app.image.tag or app.image.digest too" -}}
{{- end -}}
{{- if and (not $app.image.repository) (or $app.image.registry $app.image.tag $app.image.digest) -}}
{{- fail "app.image: set app.image.repository too" -}}
{{- end -}}
{{- end -}}

{{- define "duly.check.orders" -}}
{{- $orders := .Values.orders -}}
{{- if and .Values.demo.enabled (not .Values.app.name) (ne $orders.source "builtin") -}}
{{- fail "demo.enabled: its orders are for orders.source: builtin; turn the demo off" -}}
{{- end -}}
{{- range $source, $value := dict "sql" (or $orders.sql.orders $orders.sql.items) "http" (or $orders.http.url $orders.http.existingSecret) "python" $orders.python -}}
{{- if and $value (ne $orders.source $source) (not $.Values.app.name) -}}
{{- fail (printf "orders.%s is set, and orders.source is %s: set orders.source=%s, or leave orders.%s out" $source $orders.source $source $source) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $orders.source "sql") (not $orders.sql.orders) -}}
{{- fail "orders.source is sql: set orders.sql.orders to a SELECT of the pending orders (docs/orders.md)" -}}
{{- end -}}
{{- if and (eq $orders.source "http") (not $orders.http.url) -}}
{{- fail "orders.source is http: set orders.http.url to your order service (docs/orders.md)" -}}
{{- end -}}
{{- if and (eq $orders.source "python") (not $orders.python) -}}
{{- fail "orders.source is python: set orders.python to your factory, as module:factory (docs/orders.md)" -}}
{{- end -}}
{{- end -}}

{{- define "duly.check.queues" -}}
{{- $served := dict -}}
{{- range $name, $queue := .Values.worker.queues -}}
{{- if $queue -}}
{{- $_ := set $served $name true -}}
{{- $c := mergeOverwrite (deepCopy $.Values.worker.defaults) (deepCopy $queue) -}}
{{- if and $c.keda.enabled $c.hpa.enabled -}}
{{- fail (printf "worker.queues.%s: keda.enabled and hpa.enabled exclude each other" $name) -}}
{{- end -}}
{{- range $key := list "keda" "hpa" -}}
{{- $scaler := get $c $key -}}
{{- if and $scaler.enabled (gt (int64 $scaler.minReplicas) (int64 $scaler.maxReplicas)) -}}
{{- fail (printf "worker.queues.%s.%s: minReplicas is %d, more than maxReplicas, which is %d; raise maxReplicas or lower minReplicas" $name $key (int64 $scaler.minReplicas) (int64 $scaler.maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not $served -}}
{{- fail "worker.queues has no queue, and nothing would run: keep one, or add one" -}}
{{- end -}}
{{- if not (or .Values.app.name (hasKey $served "default")) -}}
{{- fail "worker.queues.default is null, and the check of pending orders runs in this queue: keep it, or set app.name to your own application" -}}
{{- end -}}
{{- end -}}

{{/* Volumes of one name, or accounts of one name that are made twice, are refused by the API, or by Helm in midst of an upgrade. */}}
{{- define "duly.check.volumes" -}}
{{- range $path, $volumes := include "duly.check.each" (dict "root" $ "key" "extraVolumes") | fromYaml -}}
{{- range $volume := $volumes -}}
{{- if or (has $volume.name (list "tmp" "secrets")) (and (eq $volume.name "data") (regexMatch "^(defaults|valkey|postgresql)[.]" $path)) -}}
{{- fail (printf "%s: the chart has a volume %s itself; use another name" $path $volume.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $made := dict -}}
{{- range $component := list "scheduler" "worker" "monitor" -}}
{{- $account := (get $.Values $component).serviceAccount -}}
{{- if and $account.create $account.name -}}
{{- if hasKey $made $account.name -}}
{{- fail (printf "%s.serviceAccount.name and %s.serviceAccount.name are both %s, and both would be made: set create=false for one of them" (get $made $account.name) $component $account.name) -}}
{{- end -}}
{{- $_ := set $made $account.name $component -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels by which the release finds its own pods are nobody else's. */}}
{{- define "duly.check.labels" -}}
{{- $own := include "duly.labels" (dict "root" $ "component" "x" "queue" "x") | fromYaml -}}
{{- range $path, $labels := include "duly.check.each" (dict "root" $ "key" "podLabels") | fromYaml -}}
{{- range $label, $_ := $labels -}}
{{- if hasKey $own $label -}}
{{- fail (printf "%s: the chart sets the label %s itself; use another name" $path $label) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What each place of the values has under a key, by its path, and commonLabels. (dict "root" $ "key" "podLabels") */}}
{{- define "duly.check.each" -}}
{{- $found := dict -}}
{{- $key := .key -}}
{{- range $name := list "defaults" "scheduler" "monitor" "migrations" "queueRemoval" "demo" "test" "toolbox" "valkey" "postgresql" "app" -}}
{{- $_ := set $found (printf "%s.%s" $name $key) (get (get $.root.Values $name) $key) -}}
{{- end -}}
{{- $_ := set $found (printf "worker.defaults.%s" $key) (get .root.Values.worker.defaults $key) -}}
{{- range $name, $queue := .root.Values.worker.queues -}}
{{- $_ := set $found (printf "worker.queues.%s.%s" $name $key) (get ($queue | default dict) $key) -}}
{{- end -}}
{{- if eq $key "podLabels" -}}
{{- $_ := set $found "commonLabels" .root.Values.commonLabels -}}
{{- end -}}
{{- range $path, $value := $found -}}
{{- if $value }}
{{ $path | quote }}: {{ toJson $value }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A variable that the chart sets has a value of its own, on which other objects may depend. */}}
{{- define "duly.check.variables" -}}
{{- $owners := .Files.Get "files/variables.yaml" | fromYaml -}}
{{- range $path, $items := include "duly.check.each" (dict "root" $ "key" "extraEnv") | fromYaml -}}
{{- range $item := $items -}}
{{- include "duly.check.variable" (dict "path" $path "name" $item.name "owners" $owners) -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := .Values.settings -}}
{{- if has $name (list "DULY_OUTBOX__URL" "DULY_LOG__MASK_KEY") -}}
{{- fail (printf "settings: %s is a secret, and everybody who sees pods reads settings; set it in extraEnv, with valueFrom.secretKeyRef" $name) -}}
{{- end -}}
{{- include "duly.check.variable" (dict "path" "settings" "name" $name "owners" $owners) -}}
{{- end -}}
{{- end -}}

{{- define "duly.check.variable" -}}
{{- $given := . -}}
{{- range $owner, $names := .owners -}}
{{- range $name := $names -}}
{{- if or (eq $given.name $name) (and (hasSuffix "__" $name) (hasPrefix $name $given.name)) -}}
{{- fail (printf "%s: the chart sets %s itself; use %s" $given.path $given.name $owner) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
