#!/bin/sh
# Checks the rendered chart and the Dockerfiles against checkov's policies. What is skipped, and why:
#   CKV_K8S_8, CKV_K8S_9   the helm test is a pod that ends, so it has no probes
#   CKV_K8S_11             no limit on CPU: it would slow pods down on an idle node
#   CKV_K8S_15             IfNotPresent suffices, because our tags never change
#   CKV_K8S_21             the namespace is the release's, and is not written into the objects
#   CKV_K8S_40             the images of Valkey and PostgreSQL run as user 999
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
    CKV_K8S_8,CKV_K8S_9,CKV_K8S_11,CKV_K8S_15,CKV_K8S_21,CKV_K8S_40,CKV_K8S_43,CKV_DOCKER_2
echo "policies: clean"
