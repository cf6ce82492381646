# Cairn on AWS: one bucket, one function that answers, one that indexes.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.60, < 7.0"
    }
  }
}

locals {
  store = "s3://${aws_s3_bucket.store.bucket}/${var.prefix}"
}

resource "aws_s3_bucket" "store" {
  bucket = var.bucket
}

resource "aws_s3_bucket_public_access_block" "store" {
  bucket                  = aws_s3_bucket.store.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# What a killed indexer leaves half-uploaded is paid for until somebody aborts it.
resource "aws_s3_bucket_lifecycle_configuration" "store" {
  bucket = aws_s3_bucket.store.id
  rule {
    id     = "abort-unfinished-uploads"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "function" {
  statement {
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.store.arn]
  }
  statement {
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    resources = ["${aws_s3_bucket.store.arn}/*"]
  }
  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.searcher.arn}:*", "${aws_cloudwatch_log_group.indexer.arn}:*"]
  }
}

resource "aws_iam_role" "function" {
  name               = "${var.name}-function"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_iam_role_policy" "function" {
  name   = "store-and-logs"
  role   = aws_iam_role.function.id
  policy = data.aws_iam_policy_document.function.json
}

resource "aws_cloudwatch_log_group" "searcher" {
  name              = "/aws/lambda/${var.name}-searcher"
  retention_in_days = var.log_days
}

resource "aws_cloudwatch_log_group" "indexer" {
  name              = "/aws/lambda/${var.name}-indexer"
  retention_in_days = var.log_days
}

resource "aws_lambda_function" "searcher" {
  function_name    = "${var.name}-searcher"
  role             = aws_iam_role.function.arn
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.architecture]
  filename         = var.searcher_zip
  source_code_hash = filebase64sha256(var.searcher_zip)
  memory_size      = var.searcher_memory_mb
  timeout          = 60

  ephemeral_storage {
    size = var.searcher_disk_mb
  }
  environment {
    variables = merge(
      {
        CAIRN_STORE       = local.store
        CAIRN_CACHE_DIR   = "/tmp/cairn-cache"
        CAIRN_CACHE_BYTES = tostring(floor(var.searcher_disk_mb * 1048576 * 0.8))
      },
      var.api_key == null ? {} : { CAIRN_API_KEY = var.api_key },
    )
  }
  depends_on = [aws_cloudwatch_log_group.searcher, aws_iam_role_policy.function]
}

# With an api key the URL is open and Cairn asks for the key; without one, AWS asks for a signed request.
resource "aws_lambda_function_url" "searcher" {
  function_name      = aws_lambda_function.searcher.function_name
  authorization_type = var.api_key == null ? "AWS_IAM" : "NONE"
}

resource "aws_lambda_permission" "open" {
  count                  = var.api_key == null ? 0 : 1
  statement_id           = "function-url"
  action                 = "lambda:InvokeFunctionUrl"
  function_name          = aws_lambda_function.searcher.function_name
  principal              = "*"
  function_url_auth_type = "NONE"
}

resource "aws_lambda_function" "indexer" {
  function_name    = "${var.name}-indexer"
  role             = aws_iam_role.function.arn
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.architecture]
  filename         = var.indexer_zip
  source_code_hash = filebase64sha256(var.indexer_zip)
  memory_size      = var.indexer_memory_mb
  timeout          = 900

  ephemeral_storage {
    size = var.indexer_disk_mb
  }
  environment {
    variables = { CAIRN_STORE = local.store }
  }
  depends_on = [aws_cloudwatch_log_group.indexer, aws_iam_role_policy.function]
}

# Two indexers of one collection at once are safe, a retry of a failed one by AWS is only waste.
resource "aws_lambda_function_event_invoke_config" "indexer" {
  function_name          = aws_lambda_function.indexer.function_name
  maximum_retry_attempts = 0
}
