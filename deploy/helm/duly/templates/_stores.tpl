{{- define "duly.postgresql.env" -}}
- {name: POSTGRES_USER, value: duly}
- {name: POSTGRES_DB, value: orders}
- {name: POSTGRES_PASSWORD_FILE, value: /etc/duly/secrets/password}
- {name: PGDATA, value: /var/lib/postgresql/data/pgdata}
{{- end -}}

{{/* A StatefulSet's claim, of the values `persistence`. */}}
{{- define "duly.store.claim" -}}
{{- if .enabled }}
persistentVolumeClaimRetentionPolicy: {whenDeleted: {{ .whenDeleted }}, whenScaled: Retain}
volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .storageClass }}
      storageClassName: {{ . | quote }}
      {{- end }}
      resources: {requests: {storage: {{ .size | quote }}}}
{{- end }}
{{- end -}}

{{/* A quantity of Kubernetes in bytes, as text: 512Mi, 1.5G, 5e8, a plain number. (dict "key" <of the values> "quantity" …) */}}
{{- define "duly.bytes" -}}
{{- $text := ternary .quantity (toJson .quantity) (kindIs "string" .quantity) -}}
{{- $number := regexFind "^[0-9.]+([eE][+-]?[0-9]+)?" $text -}}
{{- $unit := trimPrefix $number $text -}}
{{- $units := dict "" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 -}}
{{- $factor := 1.0 -}}
{{- range $binary := list "Ki" "Mi" "Gi" "Ti" "Pi" "Ei" -}}
{{- $factor = mulf $factor 1024 -}}
{{- $_ := set $units $binary $factor -}}
{{- end -}}
{{- if not (and (regexMatch "^([0-9]+[.]?[0-9]*|[.][0-9]+)([eE]|$)" $number) (hasKey $units $unit)) -}}
{{- fail (printf "%s: %s is no quantity of memory; write it as 512Mi, 1.5G or 536870912" .key $text) -}}
{{- end -}}
{{- printf "%.0f" (floor (mulf (float64 $number) (get $units $unit))) -}}
{{- end -}}

{{/*
The server's maxmemory in bytes; 0: no limit. What a container needs beside the tasks, its clients' buffers
and the pages that change while a child writes the file, has the other quarter. (dict "given" <maxMemory> "resources" <of the container>)
*/}}
{{- define "duly.valkey.maxmemory" -}}
{{- $limit := ((.resources | default dict).limits | default dict).memory -}}
{{- $limit = include "duly.bytes" (dict "key" "valkey.resources.limits.memory" "quantity" ($limit | default 0)) -}}
{{- if eq (toString .given) "" -}}
{{- printf "%.0f" (floor (mulf (float64 $limit) 0.75)) -}}
{{- else -}}
{{- $bytes := include "duly.bytes" (dict "key" "valkey.maxMemory" "quantity" .given) -}}
{{- if and (gt (float64 $limit) 0.0) (gt (float64 $bytes) (float64 $limit)) -}}
{{- fail (printf "valkey.maxMemory: %v is more than valkey.resources.limits.memory, at which the kernel ends the server; raise that, or leave maxMemory empty" .given) -}}
{{- end -}}
{{- $bytes -}}
{{- end -}}
{{- end -}}
