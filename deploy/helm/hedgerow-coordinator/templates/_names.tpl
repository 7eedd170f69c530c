{{- define "coordinator.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}-coordinator
{{- end }}

{{- define "coordinator.selector" -}}
app.kubernetes.io/name: hedgerow-coordinator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "coordinator.labels" -}}
{{ include "coordinator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "coordinator.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag }}{{ end }}
{{- end }}
