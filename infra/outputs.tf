output "url" {
  description = "Qdrant's API; give clients port 443."
  value       = aws_lambda_function_url.searcher.function_url
}

output "store" {
  description = "For cairn's --store."
  value       = local.store
}

output "indexer" {
  description = "Name of the function that takes indexing events."
  value       = aws_lambda_function.indexer.function_name
}
