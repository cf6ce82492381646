# What to be woken for. Without a topic the alarms only show in CloudWatch.

locals {
  actions = var.alarm_topic_arn == null ? [] : [var.alarm_topic_arn]
  # Kind and threshold for every function; slowness is no alarm for the indexer, whose jobs take what they take.
  alarms = merge(
    { for key, name in local.functions : "${key}-errors" => {
      function = name, metric = "Errors", statistic = "Sum", threshold = 0, periods = 1
    } },
    { for key, name in local.functions : "${key}-throttles" => {
      function = name, metric = "Throttles", statistic = "Sum", threshold = 0, periods = 1
    } },
    { for key, name in local.functions : "${key}-duration" => {
      function = name, metric = "Duration", statistic = "p99", threshold = var.alarm_p99_ms, periods = 3
    } if key != "indexer" },
  )
}

resource "aws_cloudwatch_metric_alarm" "function" {
  for_each            = var.alarms ? local.alarms : {}
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "Cairn: ${each.value.metric} of ${each.value.function}"
  namespace           = "AWS/Lambda"
  metric_name         = each.value.metric
  dimensions          = { FunctionName = each.value.function }
  statistic           = each.value.statistic == "Sum" ? "Sum" : null
  extended_statistic  = each.value.statistic == "Sum" ? null : each.value.statistic
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  period              = 300
  evaluation_periods  = each.value.periods
  # Nobody asks, nothing is wrong: that is what serverless is.
  treat_missing_data = "notBreaching"
  alarm_actions      = local.actions
  ok_actions         = local.actions
  tags               = var.tags
}
