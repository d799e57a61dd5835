# Deploying code and following a rotation. Included by the Makefile above;
# terraform/deploy does the work.

terraform_here := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))

# The folder of the root module that was applied, if it is another one that
# calls this module.
TERRAFORM_DIR ?= $(terraform_here)

terraform_deploy = TERRAFORM_DIR='$(TERRAFORM_DIR)' PROGRAM='$(PROGRAM)' $(terraform_here)/deploy

.PHONY: deploy
deploy: ## build once and deploy to every region, as the setting program says, and what follows objections; DRY_RUN=1: only print
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

terraform_emergency = TERRAFORM_DIR='$(TERRAFORM_DIR)' DRY_RUN='$(DRY_RUN)' UNDO='$(UNDO)' $(terraform_here)/emergency

.PHONY: revoke
revoke: ## stop a leaked key, without Terraform: KEY=3; SIGN_WITH=4 if it signs; UNDO=1 until it is disabled; DRY_RUN=1
	@KEY='$(KEY)' SIGN_WITH='$(SIGN_WITH)' $(terraform_emergency) revoke

.PHONY: drain
drain: ## take a region out of the load balancer, without Terraform: REGION=…; UNDO=1 puts it back; DRY_RUN=1
	@REGION='$(REGION)' $(terraform_emergency) drain
