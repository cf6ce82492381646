//! Settings: flags over environment over defaults, parsed once.
//!
//! Three groups, so that a command takes only what it needs: [`StoreSettings`] (where the collections are),
//! [`SearchSettings`] (how to search them) and [`HttpSettings`] (how to serve them); [`Settings`] has all three.

use std::{fmt, net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

use bytesize::ByteSize;
use cairn_model::limits::BODY_BYTES_MAX;
use cairn_storage::{StoreOptions, log::LogOptions, machine::Memory};

use crate::{error::Error, fanout::function, heat::HeatLimits, receipt::Prices};

/// Everything that a server needs.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// Where the collections are.
    #[command(flatten)]
    pub store: StoreSettings,
    /// How to search them.
    #[command(flatten)]
    pub search: SearchSettings,
    /// How to serve them.
    #[command(flatten)]
    pub http: HttpSettings,
    /// Who else searches.
    #[command(flatten)]
    pub fanout: FanoutSettings,
}

/// Where the collections are.
#[derive(Clone, Debug, clap::Args)]
pub struct StoreSettings {
    /// The store: a directory, file://, memory://, s3://bucket/prefix, gs:// or az://
    #[arg(long, env = "CAIRN_STORE", value_name = "URL")]
    pub store: String,
    /// S3 endpoint, for MinIO, LocalStack and others (default: AWS's own, or AWS_ENDPOINT_URL)
    #[arg(long, env = "CAIRN_S3_ENDPOINT", value_name = "URL")]
    pub s3_endpoint: Option<String>,
    /// S3 region (default: AWS_REGION)
    #[arg(long, env = "CAIRN_S3_REGION", value_name = "REGION")]
    pub s3_region: Option<String>,
    /// S3 access key (default: the usual AWS variables, or the function's role)
    #[arg(long, env = "CAIRN_S3_ACCESS_KEY_ID", value_name = "KEY", hide_env_values = true)]
    pub s3_access_key_id: Option<Secret>,
    /// S3 secret key
    #[arg(long, env = "CAIRN_S3_SECRET_ACCESS_KEY", value_name = "KEY", hide_env_values = true)]
    pub s3_secret_access_key: Option<Secret>,
    /// Never ask the store a second time for what is late
    #[arg(long, env = "CAIRN_NO_HEDGE")]
    pub no_hedge: bool,
    /// Longest time for one store request with its retries, in milliseconds
    #[arg(long, env = "CAIRN_STORE_TIMEOUT_MS", value_name = "MS")]
    pub store_timeout_ms: Option<u64>,
}

/// How to search.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SearchSettings {
    /// Directory for segments fetched from the store (default: the user's cache directory; /tmp/cairn-cache in Lambda)
    #[arg(long, env = "CAIRN_CACHE_DIR", value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Most bytes of segments on local disk, such as 10GB or 512MiB (default: 10GB; 400MB in Lambda)
    #[arg(long, env = "CAIRN_CACHE_BYTES", value_name = "SIZE")]
    pub cache_bytes: Option<ByteSize>,
    /// Memory that this process may take, where that is less than its control group, the function or the machine allow: defaults follow from it,
    /// and when it gets short, expanded segments go first, then ranges, then heads. Mapped files count nothing: the system takes them back
    #[arg(long, env = "CAIRN_MEMORY", value_name = "SIZE")]
    pub memory: Option<ByteSize>,
    /// Most bytes of memory for segments that are expanded; 0 turns that off, auto is half of what the machine, its control
    /// group or the function leaves free when the process starts. Whether it pays is worth measuring on your own data: `cairn
    /// bench --tier hot` against `--tier warm`
    #[arg(long, env = "CAIRN_HOT_BYTES", value_name = "SIZE|auto", default_value = "0")]
    pub hot_bytes: HotBytes,
    /// Most bytes of memory for the heads of segments that are not on local disk (default: an eighth of the memory, at most 512MiB)
    #[arg(long, env = "CAIRN_HEADS_BYTES", value_name = "SIZE")]
    pub heads_bytes: Option<ByteSize>,
    /// Most bytes of memory for other parts of such segments (default: a sixteenth of the memory, at most 256MiB)
    #[arg(long, env = "CAIRN_RANGES_BYTES", value_name = "SIZE")]
    pub ranges_bytes: Option<ByteSize>,
    /// Do not fetch segments in the background after a query that read them by ranges
    #[arg(long, env = "CAIRN_NO_HYDRATION")]
    pub no_hydration: bool,
    /// What things cost, for the receipt in every answer
    #[command(flatten)]
    pub prices: Prices,
    /// Ask the kernel to read segments ahead when they are mapped
    #[arg(long, env = "CAIRN_POPULATE")]
    pub populate: bool,
    /// Search threads (default: one per core)
    #[arg(long, env = "CAIRN_THREADS", value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Serve a snapshot up to this old without asking the store; 0 makes every read see the newest version
    #[arg(long, env = "CAIRN_REFRESH_MS", value_name = "MS", default_value_t = 0)]
    pub refresh_ms: u64,
    /// Writes per shard that may wait to be moved into segments; past it, writes are told to come again later (default: 256MiB)
    #[arg(long, env = "CAIRN_TAIL_BYTES", value_name = "SIZE")]
    pub tail_bytes: Option<ByteSize>,
    /// Largest answer (default: 256MiB; 5MiB in Lambda, which refuses larger ones)
    #[arg(long, env = "CAIRN_MAX_ANSWER", value_name = "SIZE")]
    pub max_answer: Option<ByteSize>,
}

/// How to serve.
#[derive(Clone, Debug, clap::Args)]
pub struct HttpSettings {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "CAIRN_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:6333")]
    pub listen: SocketAddr,
    /// Key that every request must bring, as `api-key` or as a bearer token
    #[arg(long, env = "CAIRN_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub api_key: Option<Secret>,
    /// Key that may read only
    #[arg(long, env = "CAIRN_READ_ONLY_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub read_only_api_key: Option<Secret>,
    /// Seconds after which a request is stopped
    #[arg(long, env = "CAIRN_REQUEST_TIMEOUT", value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub request_timeout: u64,
    /// Largest request body
    #[arg(long, env = "CAIRN_MAX_BODY", value_name = "SIZE", default_value_t = ByteSize(BODY_BYTES_MAX as u64))]
    pub max_body: ByteSize,
    /// Requests answered at once; further ones get 503
    #[arg(long, env = "CAIRN_MAX_REQUESTS", value_name = "N", default_value_t = 1024, value_parser = requests)]
    pub max_requests: usize,
    /// Do not let scripts of pages of other origins call this server from browsers
    #[arg(long, env = "CAIRN_NO_CORS")]
    pub no_cors: bool,
}

/// Who else searches.
#[derive(Clone, Debug, clap::Args)]
pub struct FanoutSettings {
    /// Servers of the same store that search segments for this one: URLs, or lambda:FUNCTION or lambda:FUNCTION:ALIAS for functions that are invoked,
    /// separated by commas
    #[arg(long, env = "CAIRN_LEAVES", value_name = "URL,URL,...", value_delimiter = ',')]
    pub leaves: Vec<LeafUrl>,
    /// Where lambda:FUNCTION is invoked, for LocalStack and others (default: AWS's own, in AWS_REGION)
    #[arg(long, env = "CAIRN_LAMBDA_ENDPOINT", value_name = "URL")]
    pub lambda_endpoint: Option<LeafUrl>,
    /// Key that these servers ask for
    #[arg(long, env = "CAIRN_LEAF_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub leaf_api_key: Option<Secret>,
    /// Leaves that this server asks itself at most, from 2 to 1024: of more, so many are asked to ask the others, which takes a hop more
    #[arg(long, env = "CAIRN_FANOUT_WIDTH", value_name = "N", default_value_t = 64, value_parser = width)]
    pub fanout_width: usize,
    /// Wait for slow leaves instead of asking another too; those that fail are replaced all the same
    #[arg(long, env = "CAIRN_NO_HEDGING")]
    pub no_hedging: bool,
    /// Ask other leaves when a root says so and names them, with --leaf-api-key: what a root with more than --fanout-width leaves needs of its
    /// leaves. Only for servers that nobody but roots can reach, or with --api-key
    #[arg(long, env = "CAIRN_SUB_ROOT")]
    pub sub_root: bool,
    /// What to serve
    #[arg(long, env = "CAIRN_ROLE", value_enum, value_name = "ROLE", default_value_t)]
    pub role: Role,
}

/// What a server serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Everything, also what the servers that name it in --leaves ask for
    #[default]
    All,
    /// Only what the servers that name it in --leaves ask for, health and metrics
    Leaf,
}

/// Where a leaf is: `http://` or `https://`, a host, perhaps a port and a path, without a slash at its end; or `lambda:` and a function's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafUrl(pub(crate) String);

impl FromStr for LeafUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if function(text).is_some() {
            return Ok(Self(text.to_owned()));
        }
        let url = reqwest::Url::parse(text).map_err(|error| error.to_string())?;
        let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !plain {
            return Err("expected http://HOST:PORT, https://HOST or lambda:FUNCTION".to_owned());
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

impl FanoutSettings {
    /// Leaves that one server asks itself, at least, where it asks others to ask the rest.
    pub(crate) const WIDTH_MIN: usize = 2;
    /// Leaves, at most.
    pub(crate) const LEAVES_MAX: usize = 1_024;

    /// Whether the settings make sense together.
    ///
    /// # Errors
    /// `Invalid` when a leaf is named twice, there are too many, or a leaf is to have leaves.
    pub fn check(&self) -> Result<(), Error> {
        let Self { leaves, role, lambda_endpoint, .. } = self;
        if lambda_endpoint.as_ref().is_some_and(|url| function(&url.0).is_some()) {
            return Err(Error::Invalid(
                "--lambda-endpoint is a function's name: expected http://HOST:PORT or https://HOST".into(),
            ));
        }
        if *role == Role::Leaf && !leaves.is_empty() {
            return Err(Error::Invalid("a server with --role leaf searches by itself: it has no --leaves".into()));
        }
        if leaves.len() > Self::LEAVES_MAX {
            return Err(Error::Invalid(format!("{} leaves, at most {} are allowed", leaves.len(), Self::LEAVES_MAX)));
        }
        match (1..leaves.len()).find(|&at| leaves[..at].contains(&leaves[at])) {
            Some(at) => Err(Error::Invalid(format!("--leaves names {} twice", leaves[at].0))),
            None => Ok(()),
        }
    }
}

/// Names the variable that tells that this process is a Lambda function.
pub const LAMBDA_VARIABLE: &str = "AWS_LAMBDA_RUNTIME_API";

const GB: u64 = 1_000_000_000;
const CACHE_BYTES_DEFAULT: u64 = 10 * GB;
/// A function's `/tmp` is 512 MB unless it is configured to be larger.
const CACHE_BYTES_LAMBDA: u64 = 400_000_000;
/// Taken for all memory where the system does not say.
const MEMORY_BYTES_UNKNOWN: u64 = 2 << 30;
/// Memory that stays free beside expanded segments, at most.
const RESERVE_BYTES_MAX: u64 = 1 << 30;
const ANSWER_BYTES_DEFAULT: usize = 256 << 20;
/// Lambda takes answers of up to 6 MB, envelope and base64 aside.
const ANSWER_BYTES_LAMBDA: usize = 5 << 20;

const HEADS_BYTES_MAX: u64 = 512 << 20;
const RANGES_BYTES_MAX: u64 = 256 << 20;

pub(crate) fn in_lambda() -> bool {
    std::env::var_os(LAMBDA_VARIABLE).is_some()
}

fn threads(text: &str) -> Result<usize, String> {
    in_range(text, 1_024)
}

fn requests(text: &str) -> Result<usize, String> {
    in_range(text, 1 << 20)
}

fn width(text: &str) -> Result<usize, String> {
    within(text, FanoutSettings::WIDTH_MIN..=FanoutSettings::LEAVES_MAX)
}

fn in_range(text: &str, max: usize) -> Result<usize, String> {
    within(text, 1..=max)
}

fn within(text: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("expected a number from {} to {}", range.start(), range.end())),
    }
}

impl StoreSettings {
    /// The options of the storage crate.
    #[must_use]
    pub fn options(&self) -> StoreOptions {
        StoreOptions {
            endpoint: self.s3_endpoint.clone(),
            region: self.s3_region.clone(),
            access_key_id: self.s3_access_key_id.as_ref().map(|key| key.0.clone()),
            secret_access_key: self.s3_secret_access_key.as_ref().map(|key| key.0.clone()),
            request_timeout_ms: self.store_timeout_ms,
            no_hedge: self.no_hedge,
        }
    }
}

impl SearchSettings {
    /// The cache directory: as set, else the user's own cache, which no other user can write to.
    #[must_use]
    pub fn cache_dir(&self) -> PathBuf {
        if let Some(dir) = &self.cache_dir {
            return dir.clone();
        }
        let under = |variable: &str| std::env::var_os(variable).filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let user = || under("XDG_CACHE_HOME").or_else(|| under("HOME").map(|home| home.join(".cache")));
        match user().filter(|_| !in_lambda()) {
            Some(dir) => dir.join("cairn"),
            None => std::env::temp_dir().join("cairn-cache"),
        }
    }

    /// The cache's budget.
    #[must_use]
    pub fn cache_bytes(&self) -> u64 {
        let default = if in_lambda() { CACHE_BYTES_LAMBDA } else { CACHE_BYTES_DEFAULT };
        self.cache_bytes.map_or(default, |size| size.0)
    }

    /// What tells how much memory there is.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let here = Memory::here();
        match self.memory {
            Some(size) => here.within(size.0),
            None => here,
        }
    }

    fn memory_bytes(&self) -> u64 {
        self.memory().most_bytes().unwrap_or(MEMORY_BYTES_UNKNOWN)
    }

    /// Memory for heads of segments that are not on local disk.
    #[must_use]
    pub fn heads_bytes(&self) -> u64 {
        let default = || (self.memory_bytes() / 8).min(HEADS_BYTES_MAX);
        self.heads_bytes.map_or_else(default, |size| size.0)
    }

    /// Memory for segments that fit on no disk, because it is full or fails.
    #[must_use]
    pub fn fallback_bytes(&self) -> u64 {
        self.memory_bytes() / 8
    }

    /// Memory for other parts of them.
    #[must_use]
    pub fn ranges_bytes(&self) -> u64 {
        let default = || (self.memory_bytes() / 16).min(RANGES_BYTES_MAX);
        self.ranges_bytes.map_or_else(default, |size| size.0)
    }

    /// What bounds expanded segments. A sixteenth of all memory stays free for whatever else happens.
    #[must_use]
    pub fn heat_limits(&self, memory: Memory) -> HeatLimits {
        let bytes_max = match self.hot_bytes {
            HotBytes::AtMost(size) => size.0,
            HotBytes::Auto => memory.free_bytes().unwrap_or(MEMORY_BYTES_UNKNOWN) / 2,
        };
        let reserve_bytes = memory.most_bytes().unwrap_or(MEMORY_BYTES_UNKNOWN) / 16;
        HeatLimits { bytes_max, reserve_bytes: reserve_bytes.min(RESERVE_BYTES_MAX), memory }
    }

    /// The bounds of logs.
    #[must_use]
    pub fn log_options(&self) -> LogOptions {
        let usual = LogOptions::default();
        LogOptions { tail_bytes_max: self.tail_bytes.map_or(usual.tail_bytes_max, |size| size.0), ..usual }
    }

    /// The largest answer.
    #[must_use]
    pub fn answer_bytes_max(&self) -> usize {
        let default = if in_lambda() { ANSWER_BYTES_LAMBDA } else { ANSWER_BYTES_DEFAULT };
        self.max_answer.map_or(default, |size| usize::try_from(size.0).unwrap_or(usize::MAX))
    }
}

impl HttpSettings {
    /// After which time a request is stopped.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.request_timeout)
    }
}

/// Memory for expanded segments.
///
/// None by default: where the codes that a walk touches stay in the processor's caches, it is faster on compact codes and
/// links than on a copy many times their size. The copy is for segments far larger than the caches, on machines with memory to spare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotBytes {
    /// So much; 0 turns the tier off.
    AtMost(ByteSize),
    /// A share of what is free.
    Auto,
}

impl Default for HotBytes {
    fn default() -> Self {
        Self::AtMost(ByteSize(0))
    }
}

impl FromStr for HotBytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            size => size.parse().map(Self::AtMost).map_err(|why: String| format!("{why}; a size or auto is expected")),
        }
    }
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("a key cannot be empty".into()) } else { Ok(Self(text.to_owned())) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        settings: Settings,
    }

    fn parse(arguments: &[&str]) -> Result<Settings, String> {
        let all = ["x", "--store", "memory://"].iter().chain(arguments);
        Command::try_parse_from(all).map(|command| command.settings).map_err(|error| error.to_string())
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("0", 0), ("1024", 1024), ("10GB", 10 * GB), ("512MiB", 512 << 20), ("1.5KB", 1_500)] {
            let settings = parse(&["--cache-bytes", text]).unwrap();
            assert_eq!(settings.search.cache_bytes(), bytes, "{text}");
        }
        for bad in ["", "GB", "1 XB", "x"] {
            assert!(parse(&["--cache-bytes", bad]).unwrap_err().contains("--cache-bytes"), "{bad}");
        }
    }

    #[test]
    fn the_hot_tier_takes_what_it_is_given_or_half_of_what_is_free() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("proc")).unwrap();
        std::fs::write(dir.path().join("proc/meminfo"), "MemAvailable: 8388608 kB\n").unwrap();
        let limits = |arguments: &[&str], lambda: Option<u64>| {
            let limits = parse(arguments).unwrap().search.heat_limits(Memory::under(dir.path(), lambda));
            (limits.bytes_max, limits.reserve_bytes)
        };
        assert_eq!(limits(&[], None), (0, 512 << 20), "nothing by default");
        assert_eq!(limits(&["--hot-bytes", "auto"], None), (4 << 30, 512 << 20));
        assert_eq!(limits(&["--hot-bytes", "auto"], Some(2 << 30)), (1 << 30, 128 << 20));
        assert_eq!(limits(&["--hot-bytes", "3GB"], None).0, 3 * GB);
        assert_eq!(limits(&["--hot-bytes", "0"], None).0, 0);
        assert!(parse(&["--hot-bytes", "much"]).unwrap_err().contains("--hot-bytes"));
    }

    #[test]
    fn a_bound_on_memory_decides_what_it_is_for() {
        let search = |arguments: &[&str]| parse(arguments).unwrap().search;
        let bound = search(&["--memory", "512MiB"]);
        assert_eq!((bound.heads_bytes(), bound.ranges_bytes()), (64 << 20, 32 << 20));
        assert_eq!((bound.memory().most_bytes(), bound.fallback_bytes()), (Some(512 << 20), 64 << 20));
        assert_eq!(bound.heat_limits(bound.memory()).reserve_bytes, 32 << 20);
        assert_eq!(search(&["--memory", "512MiB", "--heads-bytes", "1MiB"]).heads_bytes(), 1 << 20);
        assert!(parse(&["--memory", "much"]).unwrap_err().contains("--memory"));
    }

    #[test]
    fn leaves_are_urls_and_named_once() {
        let parsed = parse(&["--leaves", "http://10.0.0.1:6333/,https://x.example/leaf"]).unwrap().fanout;
        assert_eq!(
            parsed.leaves.iter().map(|leaf| leaf.0.as_str()).collect::<Vec<_>>(),
            ["http://10.0.0.1:6333", "https://x.example/leaf"]
        );
        assert!(parsed.check().is_ok());
        for bad in ["10.0.0.1:6333", "s3://bucket", "http://", "http://a?b=c", "http://user@a", "http://a,"] {
            assert!(parse(&["--leaves", bad]).unwrap_err().contains("--leaves"), "{bad}");
        }
        let error = |arguments: &[&str]| parse(arguments).unwrap().fanout.check().unwrap_err().to_string();
        assert!(error(&["--leaves", "http://a,http://b,http://a/"]).contains("http://a twice"));
        assert!(error(&["--leaves", "http://a", "--role", "leaf"]).contains("--leaves"));
        let functions = parse(&["--leaves", "lambda:leaf-1,lambda:leaf-2:live"]).unwrap().fanout;
        assert!(functions.check().is_ok() && functions.leaves[1].0 == "lambda:leaf-2:live");
        assert!(parse(&["--leaves", "lambda:a/b"]).unwrap_err().contains("lambda:FUNCTION"));
        assert!(error(&["--lambda-endpoint", "lambda:leaf"]).contains("--lambda-endpoint"));
        let tree = parse(&["--fanout-width", "2", "--sub-root", "--no-hedging"]).unwrap().fanout;
        assert_eq!((tree.fanout_width, tree.sub_root, tree.no_hedging), (2, true, true));
        assert_eq!(parse(&[]).unwrap().fanout.fanout_width, 64);
        for bad in ["0", "1", "1025", "x"] {
            assert!(parse(&["--fanout-width", bad]).unwrap_err().contains("from 2 to 1024"), "{bad}");
        }
    }

    #[test]
    fn flags_make_settings() {
        let settings = parse(&["--cache-bytes", "2GB", "--api-key", "hush", "--listen", "[::1]:0"]).unwrap();
        assert_eq!(settings.search.cache_bytes(), 2 * GB);
        assert_eq!(settings.http.max_body, ByteSize(BODY_BYTES_MAX as u64));
        assert!(!settings.http.no_cors && parse(&["--no-cors"]).unwrap().http.no_cors);
        assert!(!format!("{settings:?}").contains("hush"));
        for bad in [["--threads", "0"], ["--request-timeout", "0"], ["--api-key", ""], ["--listen", "here"]] {
            assert!(parse(&bad).unwrap_err().contains(bad[0]), "{bad:?}");
        }
    }
}
