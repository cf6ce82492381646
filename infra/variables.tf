# What it is called and where it is

variable "name" {
  description = "First part of the names of functions, roles, log groups and alarms."
  type        = string
  default     = "cairn"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,31}$", var.name))
    error_message = "name is 1 to 32 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "bucket" {
  description = "Name of the bucket to make; all of Cairn's state is in it."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "bucket must be a valid name of an S3 bucket: 3 to 63 lower-case letters, digits, dots and hyphens."
  }
}

variable "prefix" {
  description = "Where in the bucket the collections are. The functions reach nothing outside it, sources aside."
  type        = string
  default     = "cairn"
  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$", var.prefix))
    error_message = "prefix is letters, digits and ._- in parts with / between them, not at either end."
  }
}

variable "source_prefix" {
  description = "Where in the bucket the indexer may read sources; null for nowhere."
  type        = string
  default     = "sources"
  validation {
    condition     = var.source_prefix == null ? true : can(regex("^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$", var.source_prefix))
    error_message = "source_prefix is letters, digits and ._- in parts with / between them, not at either end."
  }
}

variable "source_bucket_arns" {
  description = "Other buckets that the indexer may read sources from."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for arn in var.source_bucket_arns : can(regex("^arn:[a-z-]+:s3:::[a-z0-9.-]+$", arn))])
    error_message = "source_bucket_arns are like arn:aws:s3:::name, without a path or a wildcard."
  }
}

variable "tags" {
  description = "Tags for everything that has tags."
  type        = map(string)
  default     = {}
}

# The bucket

variable "kms_key_arn" {
  description = "KMS key for the bucket; null for S3's own keys, which cost nothing per request."
  type        = string
  default     = null
  validation {
    condition     = var.kms_key_arn == null ? true : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = "kms_key_arn is the ARN of a key, not of an alias: policies name it."
  }
}

variable "versioning" {
  description = "Whether the bucket keeps what was deleted or replaced: Disabled, Enabled or, once it was enabled, Suspended. Cairn needs no versions; they undo mistakes of people."
  type        = string
  default     = "Disabled"
  validation {
    condition     = contains(["Disabled", "Enabled", "Suspended"], var.versioning)
    error_message = "versioning must be Disabled, Enabled or Suspended."
  }
}

variable "noncurrent_days" {
  description = "Days after which versions that are not current are deleted, with versioning; null for never."
  type        = number
  default     = 7
  validation {
    condition     = var.noncurrent_days == null ? true : var.noncurrent_days >= 1
    error_message = "noncurrent_days is at least 1."
  }
}

variable "destroy_data" {
  description = "Whether terraform destroy also deletes a bucket that is not empty."
  type        = bool
  default     = false
}

# The functions

variable "searcher_zip" {
  description = "Path of the searcher's zip, as cargo lambda build makes it."
  type        = string
}

variable "indexer_zip" {
  description = "Path of the indexer's zip, as cargo lambda build makes it."
  type        = string
}

variable "architecture" {
  description = "What the zips were built for: arm64, a fifth cheaper for the same time, or x86_64."
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

variable "read_only_api_key" {
  description = "Key that may read only. It needs api_key beside it: without that the URL takes no keys."
  type        = string
  default     = null
  sensitive   = true
  validation {
    condition     = var.read_only_api_key == null ? true : length(var.read_only_api_key) >= 16
    error_message = "a read_only_api_key has at least 16 characters: the URL is open to the world."
  }
}

variable "searcher_read_only" {
  description = "Whether the searcher's role may not write: then collections are made and deleted by the indexer alone."
  type        = bool
  default     = false
}

variable "searcher_memory_mb" {
  description = "Memory of the searcher; AWS gives CPU in proportion, one core at 1,769 MB."
  type        = number
  default     = 1769
  validation {
    condition     = var.searcher_memory_mb >= 256 && var.searcher_memory_mb <= 10240 && floor(var.searcher_memory_mb) == var.searcher_memory_mb
    error_message = "searcher_memory_mb is a whole number from 256 to 10240."
  }
}

variable "searcher_disk_mb" {
  description = "Disk of the searcher, four fifths of which cache segments. The first 512 MB are free."
  type        = number
  default     = 2048
  validation {
    condition     = var.searcher_disk_mb >= 512 && var.searcher_disk_mb <= 10240
    error_message = "searcher_disk_mb is 512 to 10240."
  }
}

variable "searcher_timeout_s" {
  description = "Seconds after which a request is stopped."
  type        = number
  default     = 60
  validation {
    condition     = var.searcher_timeout_s >= 1 && var.searcher_timeout_s <= 900
    error_message = "searcher_timeout_s is 1 to 900."
  }
}

variable "searcher_concurrency" {
  description = "Most searchers at once: what bounds the bill of an open URL. -1 for the account's limit, which is 1,000 by default; an account that has only the 10 of a new one must take -1."
  type        = number
  default     = 50
  validation {
    condition     = var.searcher_concurrency == -1 || var.searcher_concurrency >= 1
    error_message = "searcher_concurrency is -1 or at least 1; 0 would stop all requests."
  }
}

variable "leaf_count" {
  description = "Leaves: functions that search for the searcher, for collections larger than one function. 0 for none."
  type        = number
  default     = 0
  validation {
    condition     = var.leaf_count >= 0 && var.leaf_count <= 64 && floor(var.leaf_count) == var.leaf_count
    error_message = "leaf_count is a whole number from 0 to 64."
  }
}

variable "leaf_memory_mb" {
  description = "Memory of a leaf."
  type        = number
  default     = 1769
  validation {
    condition     = var.leaf_memory_mb >= 256 && var.leaf_memory_mb <= 10240 && floor(var.leaf_memory_mb) == var.leaf_memory_mb
    error_message = "leaf_memory_mb is a whole number from 256 to 10240."
  }
}

variable "leaf_disk_mb" {
  description = "Disk of a leaf, four fifths of which cache segments."
  type        = number
  default     = 4096
  validation {
    condition     = var.leaf_disk_mb >= 512 && var.leaf_disk_mb <= 10240
    error_message = "leaf_disk_mb is 512 to 10240."
  }
}

variable "leaf_concurrency" {
  description = "Most instances of one leaf at once; -1 for the account's limit."
  type        = number
  default     = -1
  validation {
    condition     = var.leaf_concurrency == -1 || var.leaf_concurrency >= 1
    error_message = "leaf_concurrency is -1 or at least 1."
  }
}

variable "indexer_memory_mb" {
  description = "Memory of the indexer; it keeps to half of what is available and spills the rest to disk."
  type        = number
  default     = 3538
  validation {
    condition     = var.indexer_memory_mb >= 512 && var.indexer_memory_mb <= 10240 && floor(var.indexer_memory_mb) == var.indexer_memory_mb
    error_message = "indexer_memory_mb is a whole number from 512 to 10240."
  }
}

variable "indexer_disk_mb" {
  description = "Disk of the indexer: the source, spilled rows and finished segments pass through it."
  type        = number
  default     = 10240
  validation {
    condition     = var.indexer_disk_mb >= 512 && var.indexer_disk_mb <= 10240
    error_message = "indexer_disk_mb is 512 to 10240."
  }
}

variable "indexer_concurrency" {
  description = "Most indexing jobs at once; -1 for the account's limit. Parallel builds need at least shard_concurrency."
  type        = number
  default     = -1
  validation {
    condition     = var.indexer_concurrency == -1 || var.indexer_concurrency >= 1
    error_message = "indexer_concurrency is -1 or at least 1."
  }
}

# Jobs

variable "schedules" {
  description = "Events for the indexer by the clock, each with a name: schedule is cron(...) or rate(...), event is JSON as for the indexer."
  type = map(object({
    schedule = string
    event    = string
    enabled  = optional(bool, true)
  }))
  default = {}
  validation {
    condition     = alltrue([for name, _ in var.schedules : can(regex("^[a-z][a-z0-9-]{0,30}$", name))])
    error_message = "names of schedules are lower-case letters, digits and hyphens, and begin with a letter."
  }
  validation {
    condition     = alltrue([for _, job in var.schedules : can(regex("^(cron|rate)\\(.+\\)$", job.schedule))])
    error_message = "a schedule is cron(...) or rate(...), as EventBridge has them."
  }
  validation {
    condition     = alltrue([for _, job in var.schedules : can(keys(jsondecode(job.event)))])
    error_message = "an event is a JSON object: use jsonencode({...})."
  }
}

variable "gc" {
  description = "How often the indexer deletes what nothing names, and how long that must have been so (as `cairn gc --grace`); null for never."
  type = object({
    schedule = optional(string, "rate(1 hour)")
    grace    = optional(string, "24h")
  })
  default = {}
  validation {
    condition     = var.gc == null || can(regex("^(cron|rate)\\(.+\\)$", var.gc.schedule))
    error_message = "gc.schedule is cron(...) or rate(...), as EventBridge has them."
  }
  validation {
    condition     = var.gc == null || can(regex("^[0-9]+ ?(m|min|h|hours?|d|days?)$", var.gc.grace))
    error_message = "gc.grace is a time such as 24h or 3days, at least 15min."
  }
}

variable "compact" {
  description = "Collections that take writes, each with how often the indexer moves its logs into segments: cron(...) or rate(...)."
  type        = map(string)
  default     = {}
  validation {
    condition     = alltrue([for _, schedule in var.compact : can(regex("^(cron|rate)\\(.+\\)$", schedule))])
    error_message = "a schedule is cron(...) or rate(...), as EventBridge has them."
  }
}

variable "parallel_builds" {
  description = "Whether to make the state machine that builds the shards of a collection in parallel."
  type        = bool
  default     = false
}

variable "shard_concurrency" {
  description = "Most shards that are built at once."
  type        = number
  default     = 32
  validation {
    condition     = var.shard_concurrency >= 1 && var.shard_concurrency <= 1000
    error_message = "shard_concurrency is 1 to 1000."
  }
}

# Watching

variable "log_days" {
  description = "Days after which logs are deleted."
  type        = number
  default     = 30
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_days)
    error_message = "log_days must be one of the spans that CloudWatch has: 1, 3, 5, 7, 14, 30, 60, 90, ... 3653."
  }
}

variable "log_filter" {
  description = "What the functions log: a level, or directives such as cairn_searcher=debug."
  type        = string
  default     = "info"
}

variable "alarms" {
  description = "Whether to make alarms: errors, throttles and the 99th percentile of durations. Each costs about 0.10 USD a month past the ten free ones."
  type        = bool
  default     = true
}

variable "alarm_topic_arn" {
  description = "SNS topic for alarms; null for none."
  type        = string
  default     = null
  validation {
    condition     = var.alarm_topic_arn == null ? true : can(regex("^arn:[a-z-]+:sns:", var.alarm_topic_arn))
    error_message = "alarm_topic_arn is the ARN of an SNS topic."
  }
}

variable "alarm_p99_ms" {
  description = "Milliseconds of the 99th percentile of a function's durations above which, for 15 minutes, there is an alarm."
  type        = number
  default     = 2000
  validation {
    condition     = var.alarm_p99_ms > 0
    error_message = "alarm_p99_ms is above 0."
  }
}
