# Cairn on AWS. All state is in one bucket; everything here can be destroyed and made again around it.
#
#   bucket.tf      the store
#   functions.tf   searcher (the root), leaves, indexer; who may call them
#   roles.tf       what each of them may do
#   schedules.tf   jobs by the clock
#   alarms.tf      what to be woken for
#   shards.tf      a state machine that builds the shards of one large collection in parallel

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.60, < 7.0"
    }
  }
}

data "aws_partition" "current" {}

data "aws_caller_identity" "current" {}

data "aws_region" "current" {}

locals {
  store  = "s3://${aws_s3_bucket.store.bucket}/${var.prefix}"
  leaves = toset([for number in range(var.leaf_count) : tostring(number)])
  # Every function, for what all of them have.
  functions = merge(
    { searcher = "${var.name}-searcher", indexer = "${var.name}-indexer" },
    { for number in local.leaves : "leaf-${number}" => "${var.name}-leaf-${number}" },
  )
}
