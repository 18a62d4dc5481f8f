#!/bin/sh
# Checks the rendered chart and the Dockerfiles by checkov's policies. What is left out, and why:
#   CKV_K8S_8, CKV_K8S_9   the helm test is a pod that ends: it has no probes
#   CKV_K8S_11             no limit on CPU: it would slow down an idle node
#   CKV_K8S_15             IfNotPresent: a tag of ours never changes
#   CKV_K8S_21             the namespace is the release's, it is not written into the objects
#   CKV_K8S_35             secrets are read from variables; they are never logged
#   CKV_K8S_40             Valkey's and PostgreSQL's images have the user 999
#   CKV_K8S_43             digests are set by whoever installs (image.digest; skaffold does it)
#   CKV_DOCKER_2           Kubernetes has probes of its own
set -eu
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for values in values values-prod; do
    .duly/tools/helm template shop deploy/helm/duly --values "deploy/helm/duly/$values.yaml" \
        --set networkPolicy.enabled=true > "$folder/$values.yaml"
done
for service in scheduler worker monitor; do
    mkdir "$folder/$service"
    cp "services/$service/Dockerfile" "$folder/$service"
done
.venv-policy/bin/checkov --directory "$folder" --framework kubernetes dockerfile --compact --quiet \
    --skip-download --skip-check \
    CKV_K8S_8,CKV_K8S_9,CKV_K8S_11,CKV_K8S_15,CKV_K8S_21,CKV_K8S_35,CKV_K8S_40,CKV_K8S_43,CKV_DOCKER_2
echo "policies: clean"
