# Jobs by the clock: each is one event for the indexer, as it would be sent by hand. By default, only what nothing names is deleted.

locals {
  upkeep = merge(
    var.gc == null ? {} : {
      gc = { schedule = var.gc.schedule, event = jsonencode({ job = "gc", grace = var.gc.grace }), enabled = true }
    },
    # A collection's name may have characters that a rule's must not.
    {
      for collection, schedule in var.compact : "compact-${substr(sha1(collection), 0, 10)}" => {
        schedule = schedule, event = jsonencode({ job = "compact", collection = collection }), enabled = true
      }
    },
  )
  # One of the same name takes the place of these.
  schedules = merge(local.upkeep, var.schedules)
}

resource "aws_cloudwatch_event_rule" "job" {
  for_each            = local.schedules
  name                = "${var.name}-${each.key}"
  description         = "Cairn: ${each.key}"
  schedule_expression = each.value.schedule
  state               = each.value.enabled ? "ENABLED" : "DISABLED"
  tags                = var.tags
}

resource "aws_cloudwatch_event_target" "job" {
  for_each  = local.schedules
  rule      = aws_cloudwatch_event_rule.job[each.key].name
  target_id = "indexer"
  arn       = aws_lambda_function.indexer.arn
  input     = each.value.event
  # A job that could not be started an hour ago is started by its next time anyway.
  retry_policy {
    maximum_event_age_in_seconds = 3600
    maximum_retry_attempts       = 3
  }
}

resource "aws_lambda_permission" "job" {
  for_each      = local.schedules
  statement_id  = "schedule-${each.key}"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.indexer.function_name
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.job[each.key].arn
}
