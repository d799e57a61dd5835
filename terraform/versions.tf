terraform {
  # Ephemeral resources and write-only arguments, by which no key gets into a
  # plan or into state.
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.45, < 8"
    }
    random = {
      source  = "hashicorp/random"
      version = ">= 3.9, < 4"
    }
  }
}
