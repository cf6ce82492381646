variable "name" {
  description = "First part of the names of functions, role and log groups."
  type        = string
  default     = "cairn"
}

variable "bucket" {
  description = "Name of the bucket to make; all of Cairn's state is in it."
  type        = string
}

variable "prefix" {
  description = "Where in the bucket the collections are."
  type        = string
  default     = "cairn"
}

variable "searcher_zip" {
  description = "Path of the searcher's zip, as cargo lambda build makes it."
  type        = string
}

variable "indexer_zip" {
  description = "Path of the indexer's zip, as cargo lambda build makes it."
  type        = string
}

variable "architecture" {
  description = "What the zips were built for: arm64 or x86_64."
  type        = string
  default     = "arm64"
  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture must be arm64 or x86_64."
  }
}

variable "api_key" {
  description = "Key that clients send as api-key. Without one, requests must be signed (AWS_IAM)."
  type        = string
  default     = null
  sensitive   = true
  validation {
    condition     = var.api_key == null ? true : length(var.api_key) >= 16
    error_message = "an api_key has at least 16 characters: the URL is open to the world."
  }
}

variable "searcher_memory_mb" {
  description = "Memory of the searcher; AWS gives CPU in proportion, one core at 1,769 MB."
  type        = number
  default     = 1769
}

variable "searcher_disk_mb" {
  description = "Disk of the searcher, four fifths of which cache segments."
  type        = number
  default     = 2048
}

variable "indexer_memory_mb" {
  description = "Memory of the indexer; it keeps to half of what is available and spills the rest to disk."
  type        = number
  default     = 3538
}

variable "indexer_disk_mb" {
  description = "Disk of the indexer: the source, spilled rows and finished segments pass through it."
  type        = number
  default     = 10240
}

variable "log_days" {
  description = "Days after which logs are deleted."
  type        = number
  default     = 30
}
