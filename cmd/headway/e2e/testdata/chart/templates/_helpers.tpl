{{- define "pod" -}}
restartPolicy: Never
terminationGracePeriodSeconds: 0
containers:
  - name: main
    image: {{ .image }}
    command: [sh, -c, {{ .script | quote }}]
{{- end }}
