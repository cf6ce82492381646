# What each function may do, and no more: the searcher reads and makes and deletes collections, leaves read, the indexer writes.
# All of them only below the prefix; the indexer also reads sources.

data "aws_iam_policy_document" "assume" {
  for_each = { lambda = "lambda.amazonaws.com", states = "states.amazonaws.com" }
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = [each.value]
    }
    # Only for this account: a service is not to be talked into using our role on behalf of somebody else.
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

locals {
  lambda_arn = join(":", [
    "arn", data.aws_partition.current.partition, "lambda", data.aws_region.current.name,
    data.aws_caller_identity.current.account_id, "function",
  ])
  objects = "${aws_s3_bucket.store.arn}/${var.prefix}/*"
  sources = var.source_prefix == null ? [] : ["${aws_s3_bucket.store.arn}/${var.source_prefix}/*"]

  # A listing of one of these prefixes; and of the bucket's names as a whole, see below.
  listed = {
    searcher = ["${var.prefix}/*", var.prefix]
    leaf     = ["${var.prefix}/*", var.prefix]
    indexer = concat(
      ["${var.prefix}/*", var.prefix],
      var.source_prefix == null ? [] : ["${var.source_prefix}/*", var.source_prefix],
    )
  }
  readable = {
    searcher = [local.objects]
    leaf     = [local.objects]
    indexer  = concat([local.objects], local.sources, [for arn in var.source_bucket_arns : "${arn}/*"])
  }
  # Leaves write nothing, and neither does a searcher whose collections are all made by the indexer.
  writable = {
    searcher = var.searcher_read_only ? [] : [local.objects]
    leaf     = []
    indexer  = [local.objects]
  }
  logged = {
    searcher = ["${aws_cloudwatch_log_group.function["searcher"].arn}:*"]
    leaf     = [for number in local.leaves : "${aws_cloudwatch_log_group.function["leaf-${number}"].arn}:*"]
    indexer  = ["${aws_cloudwatch_log_group.function["indexer"].arn}:*"]
  }
  invoked = {
    # Written out, because the searcher's role does not wait for the leaves.
    searcher = [for number in local.leaves : "${local.lambda_arn}:${local.functions["leaf-${number}"]}"]
    leaf     = []
    indexer  = []
  }
}

data "aws_iam_policy_document" "function" {
  for_each = toset(concat(["searcher", "indexer"], var.leaf_count == 0 ? [] : ["leaf"]))
  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.store.arn]
    # "IfExists", because a GET of an object that does not exist asks for this permission too, without a prefix: refused, it is
    # answered with 403 instead of 404, and every first commit would fail.
    condition {
      test     = "StringLikeIfExists"
      variable = "s3:prefix"
      values   = local.listed[each.key]
    }
  }
  dynamic "statement" {
    for_each = each.key == "indexer" && length(var.source_bucket_arns) > 0 ? [1] : []
    content {
      sid       = "ListSources"
      actions   = ["s3:ListBucket"]
      resources = var.source_bucket_arns
    }
  }
  statement {
    sid       = "Read"
    actions   = ["s3:GetObject"]
    resources = local.readable[each.key]
  }
  dynamic "statement" {
    for_each = length(local.writable[each.key]) > 0 ? [1] : []
    content {
      sid       = "Write"
      actions   = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
      resources = local.writable[each.key]
    }
  }
  dynamic "statement" {
    for_each = var.kms_key_arn == null ? [] : [var.kms_key_arn]
    content {
      sid       = "Key"
      actions   = length(local.writable[each.key]) > 0 ? ["kms:Decrypt", "kms:GenerateDataKey"] : ["kms:Decrypt"]
      resources = [statement.value]
    }
  }
  statement {
    sid       = "Log"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = local.logged[each.key]
  }
  # A signed call of a function URL takes both.
  dynamic "statement" {
    for_each = length(local.invoked[each.key]) > 0 ? [1] : []
    content {
      sid       = "AskLeaves"
      actions   = ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"]
      resources = local.invoked[each.key]
    }
  }
}

resource "aws_iam_role" "searcher" {
  name               = "${var.name}-searcher"
  assume_role_policy = data.aws_iam_policy_document.assume["lambda"].json
  tags               = var.tags
}

resource "aws_iam_role_policy" "searcher" {
  name   = "store-and-logs"
  role   = aws_iam_role.searcher.id
  policy = data.aws_iam_policy_document.function["searcher"].json
}

resource "aws_iam_role" "leaf" {
  count              = var.leaf_count == 0 ? 0 : 1
  name               = "${var.name}-leaf"
  assume_role_policy = data.aws_iam_policy_document.assume["lambda"].json
  tags               = var.tags
}

resource "aws_iam_role_policy" "leaf" {
  count  = var.leaf_count == 0 ? 0 : 1
  name   = "store-and-logs"
  role   = aws_iam_role.leaf[0].id
  policy = data.aws_iam_policy_document.function["leaf"].json
}

resource "aws_iam_role" "indexer" {
  name               = "${var.name}-indexer"
  assume_role_policy = data.aws_iam_policy_document.assume["lambda"].json
  tags               = var.tags
}

resource "aws_iam_role_policy" "indexer" {
  name   = "store-and-logs"
  role   = aws_iam_role.indexer.id
  policy = data.aws_iam_policy_document.function["indexer"].json
}
