{{- define "sendoff.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "sendoff.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "sendoff.labels" -}}
app.kubernetes.io/name: sendoff
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- /* Takes a dict with root and component. */ -}}
{{- define "sendoff.selector" -}}
app.kubernetes.io/name: sendoff
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "sendoff.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "sendoff.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "sendoff.environment" -}}
envFrom:
  - secretRef: {name: {{ .Values.existingSecret }}}
  - configMapRef: {name: {{ include "sendoff.name" . }}}
{{- end -}}

{{- define "sendoff.mounts" -}}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if .Values.uploads.persistence.enabled }}
  - {name: uploads, mountPath: /var/lib/sendoff}
  {{- end }}
{{- end -}}

{{- define "sendoff.volumes" -}}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: {{ .Values.uploads.temporarySize }}}
  {{- if .Values.uploads.persistence.enabled }}
  - name: uploads
    persistentVolumeClaim:
      claimName: {{ required "uploads.persistence.existingClaim is missing: name a claim that is ReadWriteMany" .Values.uploads.persistence.existingClaim }}
  {{- end }}
{{- end -}}

{{- /* Takes a dict with root and component. */ -}}
{{- define "sendoff.placement" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "sendoff.podSecurity" .root | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .root.Values.topologySpread }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "sendoff.selector" . | nindent 8 }}
{{- end }}
{{- end -}}
