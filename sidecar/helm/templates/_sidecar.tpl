{{/*
What a Deployment of your own needs, with this chart as a dependency named secretbridge:

  initContainers: {{ include "secretbridge.container" .Subcharts.secretbridge | nindent 8 }}
  volumes:        {{ include "secretbridge.volumes" .Subcharts.secretbridge | nindent 8 }}
  volumeMounts:   {{ include "secretbridge.mount" .Subcharts.secretbridge | nindent 12 }}
*/}}
{{- define "secretbridge.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}-secretbridge
{{- end }}

{{- define "secretbridge.labels" -}}
app.kubernetes.io/name: secretbridge
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "secretbridge.config" -}}
{{- $s := .Values.sidecar -}}
{{- $stores := dict -}}
{{- if $s.vault.address -}}
{{- $_ := required "sidecar.vault.role: the role to log in to Vault as" $s.vault.role -}}
{{- $auth := dict "method" "kubernetes" "role" $s.vault.role "jwt_file" "/var/run/secrets/vault/token" "audience" $s.vault.audience -}}
{{- $vault := dict "address" $s.vault.address "auth" $auth -}}
{{- if $s.vault.caCertificate -}}{{- $_ := set $vault "ca_file" "/etc/secretbridge/vault-ca.pem" -}}{{- end -}}
{{- $_ := set $stores "vault" $vault -}}
{{- end -}}
{{- $listen := dict "socket" "/run/secretbridge-admin/admin.sock" -}}
{{- if eq $s.mode "sidecar" -}}
{{- $_ := set $listen "http" (printf "0.0.0.0:%d" (int $s.metricsPort)) -}}
{{- $_ := set $listen "http_network" true -}}
{{- end -}}
{{- $block := dict "target" (printf "%s/files" $s.mountPath) "mode" "0440" "group" (int $s.group) "listen" $listen -}}
{{- $all := dict "secrets" $s.secrets "sidecar" $block -}}
{{- if $stores -}}{{- $_ := set $all "stores" $stores -}}{{- end -}}
{{- toYaml (mergeOverwrite $all ($s.config | default dict)) -}}
{{- end }}

{{- define "secretbridge.container" -}}
{{- $s := .Values.sidecar -}}
- name: secretbridge
  image: {{ $s.image }}
  imagePullPolicy: {{ $s.pullPolicy }}
  {{- if eq $s.mode "sidecar" }}
  restartPolicy: Always
  args: [run]
  startupProbe:
    exec: {command: [/opt/secretbridge/bin/secretbridge-sidecar, healthcheck]}
    periodSeconds: 1
    timeoutSeconds: 5
    failureThreshold: 120
  readinessProbe:
    httpGet: {path: /readyz, port: metrics}
    periodSeconds: 10
  livenessProbe:
    httpGet: {path: /healthz, port: metrics}
    periodSeconds: 20
    timeoutSeconds: 5
  ports:
    - {name: metrics, containerPort: {{ $s.metricsPort }}}
  {{- else }}
  args: [once]
  {{- end }}
  securityContext:
    runAsUser: 1001
    runAsGroup: 1001
    runAsNonRoot: true
    readOnlyRootFilesystem: true
    allowPrivilegeEscalation: false
    capabilities: {drop: [ALL]}
    seccompProfile: {type: RuntimeDefault}
  resources: {{- toYaml $s.resources | nindent 4 }}
  volumeMounts:
    - {name: secretbridge, mountPath: {{ $s.mountPath }}}
    - {name: secretbridge-admin, mountPath: /run/secretbridge-admin}
    - {name: secretbridge-config, mountPath: /etc/secretbridge, readOnly: true}
    {{- if $s.vault.address }}
    - {name: vault-token, mountPath: /var/run/secrets/vault, readOnly: true}
    {{- end }}
{{- end }}

{{- define "secretbridge.mount" -}}
- {name: secretbridge, mountPath: {{ .Values.sidecar.mountPath }}, readOnly: true}
{{- end }}

{{- define "secretbridge.volumes" -}}
{{- $s := .Values.sidecar -}}
- name: secretbridge
  emptyDir: {medium: Memory, sizeLimit: {{ $s.size }}}
- name: secretbridge-admin
  emptyDir: {medium: Memory, sizeLimit: 64Ki}
- name: secretbridge-config
  configMap: {name: {{ include "secretbridge.name" . }}, defaultMode: 0444}
{{- if $s.vault.address }}
- name: vault-token
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: {path: token, audience: {{ $s.vault.audience | quote }}, expirationSeconds: 600}
{{- end }}
{{- end }}
