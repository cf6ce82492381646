# Building in parallel, for data past one function: begin -> a distributed map over the shards -> publish.
#
# The execution's input is an event for the indexer's "index" job, with a number of shards:
#
#   {"source": "s3://bucket/points/", "collection": "docs", "distance": "cosine", "options": {"shards": 32}}
#
# Every step can be repeated, so every step is: a shard that was built is found and not built again, and nothing is visible before
# the one conditional put of the last step.

locals {
  retry = [{
    # Throttling and broken machines; what the job itself refuses (a bad source, say) is refused the next time too.
    ErrorEquals = [
      "Lambda.TooManyRequestsException", "Lambda.ServiceException", "Lambda.AWSLambdaException",
      "Lambda.SdkClientException", "Lambda.Unknown", "Sandbox.Timedout", "Unavailable",
    ]
    IntervalSeconds = 5
    BackoffRate     = 2
    MaxAttempts     = 4
    MaxDelaySeconds = 120
    JitterStrategy  = "FULL"
  }]
  indexer_task = {
    Type     = "Task"
    Resource = "arn:${data.aws_partition.current.partition}:states:::lambda:invoke"
    Retry    = local.retry
  }

  # An execution's input names source, collection, distance and options; "job" and what belongs to it are added here.
  shards_definition = {
    Comment = "Cairn: builds the shards of a collection in parallel and publishes them together"
    StartAt = "Begin"
    States = {
      Begin = merge(local.indexer_task, {
        Parameters = {
          FunctionName = aws_lambda_function.indexer.arn
          Payload = {
            job            = "begin"
            "source.$"     = "$.source"
            "collection.$" = "$.collection"
            "distance.$"   = "$.distance"
            "options.$"    = "$.options"
          }
        }
        ResultSelector = { "generation.$" = "$.Payload.generation", "shards.$" = "$.Payload.shards" }
        ResultPath     = "$.begun"
        Next           = "Shards"
      })
      Shards = {
        Type           = "Map"
        ItemsPath      = "$.begun.shards"
        MaxConcurrency = var.shard_concurrency
        ItemSelector = {
          "event.$"      = "$"
          "generation.$" = "$.begun.generation"
          "shard.$"      = "$$.Map.Item.Value"
        }
        ItemProcessor = {
          ProcessorConfig = { Mode = "DISTRIBUTED", ExecutionType = "STANDARD" }
          StartAt         = "Shard"
          States = {
            Shard = merge(local.indexer_task, {
              Parameters = {
                FunctionName = aws_lambda_function.indexer.arn
                Payload = {
                  job            = "shard"
                  "generation.$" = "$.generation"
                  "shard.$"      = "$.shard"
                  "source.$"     = "$.event.source"
                  "collection.$" = "$.event.collection"
                  "distance.$"   = "$.event.distance"
                  "options.$"    = "$.event.options"
                }
              }
              ResultSelector = { "shard.$" = "$.Payload.shard", "points.$" = "$.Payload.points" }
              End            = true
            })
          }
        }
        # No failure is tolerated, as is the default: one shard that cannot be built makes the rest useless.
        ResultPath = null
        Next       = "Publish"
      }
      Publish = merge(local.indexer_task, {
        Parameters = {
          FunctionName = aws_lambda_function.indexer.arn
          Payload = {
            job            = "publish"
            "collection.$" = "$.collection"
            "generation.$" = "$.begun.generation"
          }
        }
        ResultSelector = { "generation.$" = "$.Payload.generation", "points.$" = "$.Payload.points", "segments.$" = "$.Payload.segments" }
        End            = true
      })
    }
  }
}

resource "aws_sfn_state_machine" "shards" {
  count      = var.parallel_builds ? 1 : 0
  name       = "${var.name}-shards"
  role_arn   = aws_iam_role.shards[0].arn
  definition = jsonencode(local.shards_definition)
  tags       = var.tags

  logging_configuration {
    level                  = "ERROR"
    include_execution_data = false
    log_destination        = "${aws_cloudwatch_log_group.shards[0].arn}:*"
  }
  depends_on = [aws_iam_role_policy.shards]
}

resource "aws_cloudwatch_log_group" "shards" {
  count             = var.parallel_builds ? 1 : 0
  name              = "/aws/vendedlogs/states/${var.name}-shards"
  retention_in_days = var.log_days
  tags              = var.tags
}

locals {
  # Written out, because the role has to exist before the state machine that it names.
  shards_arn = join(":", [
    "arn", data.aws_partition.current.partition, "states", data.aws_region.current.name,
    data.aws_caller_identity.current.account_id, "stateMachine", "${var.name}-shards",
  ])
  shards_execution_arn = replace(local.shards_arn, ":stateMachine:", ":execution:")
}

data "aws_iam_policy_document" "shards" {
  statement {
    sid       = "Build"
    actions   = ["lambda:InvokeFunction"]
    resources = [aws_lambda_function.indexer.arn]
  }
  # A distributed map runs its items as executions of the same state machine.
  statement {
    sid       = "Map"
    actions   = ["states:StartExecution"]
    resources = [local.shards_arn]
  }
  statement {
    sid       = "FollowMap"
    actions   = ["states:DescribeExecution", "states:StopExecution"]
    resources = ["${local.shards_execution_arn}/*", "${local.shards_execution_arn}:*"]
  }
  # AWS knows no resources for the delivery of logs: https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
  statement {
    sid = "DeliverLogs"
    actions = [
      "logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery",
      "logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups",
    ]
    resources = ["*"]
  }
}

resource "aws_iam_role" "shards" {
  count              = var.parallel_builds ? 1 : 0
  name               = "${var.name}-shards"
  assume_role_policy = data.aws_iam_policy_document.assume["states"].json
  tags               = var.tags
}

resource "aws_iam_role_policy" "shards" {
  count  = var.parallel_builds ? 1 : 0
  name   = "build-shards"
  role   = aws_iam_role.shards[0].id
  policy = data.aws_iam_policy_document.shards.json
}
