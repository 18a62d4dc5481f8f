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
