output "url" {
  description = "Qdrant's API; give clients port 443."
  value       = aws_lambda_function_url.searcher.function_url
}

output "store" {
  description = "For cairn's --store."
  value       = local.store
}

output "bucket" {
  description = "The bucket."
  value       = aws_s3_bucket.store.bucket
}

output "searcher" {
  description = "Name of the function that answers."
  value       = aws_lambda_function.searcher.function_name
}

output "leaves" {
  description = "URLs of the leaves, in the order of their numbers."
  value       = [for number in range(var.leaf_count) : aws_lambda_function_url.leaf[tostring(number)].function_url]
}

output "indexer" {
  description = "Name of the function that takes indexing events."
  value       = aws_lambda_function.indexer.function_name
}

output "shards" {
  description = "The state machine that builds shards in parallel; null without parallel_builds."
  value       = one(aws_sfn_state_machine.shards[*].arn)
}

output "roles" {
  description = "The functions' roles, to grant them more, such as a source in another account."
  value = merge(
    { searcher = aws_iam_role.searcher.arn, indexer = aws_iam_role.indexer.arn },
    var.leaf_count == 0 ? {} : { leaf = aws_iam_role.leaf[0].arn },
  )
}
