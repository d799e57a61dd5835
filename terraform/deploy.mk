# Deploying code and following a rotation. Included by the Makefile above;
# terraform/deploy does the work.

terraform_here := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))

# The folder of the root module that was applied, if it is another one that
# calls this module.
TERRAFORM_DIR ?= $(terraform_here)
# function: the Functions Framework on the platform's base image, which the
# platform keeps up to date. server: cmd/linktracker.
PROGRAM ?= function

terraform_deploy = TERRAFORM_DIR='$(TERRAFORM_DIR)' PROGRAM='$(PROGRAM)' $(terraform_here)/deploy

.PHONY: deploy
deploy: ## build once and deploy to every region; PROGRAM=server: without the framework; DRY_RUN=1: only print
	@DRY_RUN='$(DRY_RUN)' $(terraform_deploy) deploy

.PHONY: rollback
rollback: ## deploy the image before this one to every region, or IMAGE=…@sha256:…; DRY_RUN=1: only print
	@DRY_RUN='$(DRY_RUN)' IMAGE='$(IMAGE)' $(terraform_deploy) rollback

.PHONY: deploy-watch
deploy-watch: ## build cmd/linkwatch and deploy it to the worker pool, after the first make deploy; DRY_RUN=1: only print
	@DRY_RUN='$(DRY_RUN)' $(terraform_deploy) deploy-watch

.PHONY: rotate-plan
rotate-plan: ## print where the rotation of the keys stands and what the next apply does; PLAN=file: what that saved plan does
	@PLAN='$(PLAN)' $(terraform_deploy) rotate-plan
