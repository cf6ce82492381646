# The functions. Searcher and leaves are the same program; a leaf is told so by its environment.

resource "aws_cloudwatch_log_group" "function" {
  for_each          = local.functions
  name              = "/aws/lambda/${each.value}"
  retention_in_days = var.log_days
  tags              = var.tags
}

locals {
  searcher_environment = {
    CAIRN_STORE       = local.store
    CAIRN_CACHE_DIR   = "/tmp/cairn-cache"
    CAIRN_CACHE_BYTES = tostring(floor(var.searcher_disk_mb * 1048576 * 0.8))
    CAIRN_LOG         = var.log_filter
  }
}

resource "aws_lambda_function" "searcher" {
  function_name                  = local.functions["searcher"]
  description                    = "Cairn: answers queries"
  role                           = aws_iam_role.searcher.arn
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = [var.architecture]
  filename                       = var.searcher_zip
  source_code_hash               = filebase64sha256(var.searcher_zip)
  memory_size                    = var.searcher_memory_mb
  timeout                        = var.searcher_timeout_s
  reserved_concurrent_executions = var.searcher_concurrency
  tags                           = var.tags

  ephemeral_storage {
    size = var.searcher_disk_mb
  }
  environment {
    variables = merge(
      local.searcher_environment,
      var.api_key == null ? {} : { CAIRN_API_KEY = var.api_key },
      var.read_only_api_key == null ? {} : { CAIRN_READ_ONLY_API_KEY = var.read_only_api_key },
      # In the order of their numbers: which leaf has which segments on its disk depends on the list, not on its order.
      var.leaf_count == 0 ? {} : {
        CAIRN_LEAVES = join(",", [
          for number in range(var.leaf_count) : trimsuffix(aws_lambda_function_url.leaf[tostring(number)].function_url, "/")
        ])
      },
    )
  }
  depends_on = [aws_cloudwatch_log_group.function, aws_iam_role_policy.searcher]
}

# With an api key the URL is open and Cairn asks for the key; without one, AWS asks for a signed request.
resource "aws_lambda_function_url" "searcher" {
  function_name      = aws_lambda_function.searcher.function_name
  authorization_type = var.api_key == null ? "AWS_IAM" : "NONE"
}

# An open URL takes both of these since October 2025. The second alone would also let other accounts call Invoke: Cairn asks for
# its key there all the same.
resource "aws_lambda_permission" "open_url" {
  count                  = var.api_key == null ? 0 : 1
  statement_id           = "open-url"
  action                 = "lambda:InvokeFunctionUrl"
  function_name          = aws_lambda_function.searcher.function_name
  principal              = "*"
  function_url_auth_type = "NONE"
}

resource "aws_lambda_permission" "open_invoke" {
  count         = var.api_key == null ? 0 : 1
  statement_id  = "open-invoke"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.searcher.function_name
  principal     = "*"
}

# Leaves: each is a function of its own, so that each keeps its own segments on its own disk, and the root chooses which to ask.
resource "aws_lambda_function" "leaf" {
  for_each                       = local.leaves
  function_name                  = local.functions["leaf-${each.key}"]
  description                    = "Cairn: searches the segments that it is given, leaf ${each.key}"
  role                           = aws_iam_role.leaf[0].arn
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = [var.architecture]
  filename                       = var.searcher_zip
  source_code_hash               = filebase64sha256(var.searcher_zip)
  memory_size                    = var.leaf_memory_mb
  timeout                        = var.searcher_timeout_s
  reserved_concurrent_executions = var.leaf_concurrency
  tags                           = var.tags

  ephemeral_storage {
    size = var.leaf_disk_mb
  }
  environment {
    variables = merge(local.searcher_environment, {
      CAIRN_ROLE        = "leaf"
      CAIRN_CACHE_BYTES = tostring(floor(var.leaf_disk_mb * 1048576 * 0.8))
    })
  }
  depends_on = [aws_cloudwatch_log_group.function, aws_iam_role_policy.leaf]
}

# Never open: only the root's role may call them, by signed requests.
resource "aws_lambda_function_url" "leaf" {
  for_each           = local.leaves
  function_name      = aws_lambda_function.leaf[each.key].function_name
  authorization_type = "AWS_IAM"
}

resource "aws_lambda_function" "indexer" {
  function_name                  = local.functions["indexer"]
  description                    = "Cairn: indexes, one event a job"
  role                           = aws_iam_role.indexer.arn
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = [var.architecture]
  filename                       = var.indexer_zip
  source_code_hash               = filebase64sha256(var.indexer_zip)
  memory_size                    = var.indexer_memory_mb
  timeout                        = 900
  reserved_concurrent_executions = var.indexer_concurrency
  tags                           = var.tags

  ephemeral_storage {
    size = var.indexer_disk_mb
  }
  environment {
    variables = { CAIRN_STORE = local.store, CAIRN_LOG = var.log_filter }
  }
  depends_on = [aws_cloudwatch_log_group.function, aws_iam_role_policy.indexer]
}

# Two indexers of one collection at once are safe, a retry of a failed one by AWS is only waste.
resource "aws_lambda_function_event_invoke_config" "indexer" {
  function_name          = aws_lambda_function.indexer.function_name
  maximum_retry_attempts = 0
}
