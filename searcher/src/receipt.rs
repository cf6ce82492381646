//! What a request costs in money, by a table of prices.
//!
//! Counts do not depend on a clock; money does, through the function's seconds. Defaults are AWS's public prices in us-east-1, for S3 Standard and arm64
//! functions. Outside of a function its seconds cost nothing here: what a machine costs is not the request's.

use std::time::Duration;

use cairn_model::Usage;
use cairn_storage::store::Pace;

/// Names the variable that says how many MiB a Lambda function has.
const LAMBDA_MEMORY: &str = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE";

/// Dollars per thing.
#[derive(Clone, Copy, Debug, PartialEq, clap::Args)]
pub struct Prices {
    /// Dollars per million GET, HEAD and LIST requests to the store
    #[arg(long, env = "CAIRN_PRICE_GETS", value_name = "USD", default_value_t = 0.4, value_parser = dollars)]
    pub price_gets: f64,
    /// Dollars per million PUT requests to the store
    #[arg(long, env = "CAIRN_PRICE_PUTS", value_name = "USD", default_value_t = 5.0, value_parser = dollars)]
    pub price_puts: f64,
    /// Dollars per GB that leaves the store for this process; 0 inside one region
    #[arg(long, env = "CAIRN_PRICE_STORE_GB", value_name = "USD", default_value_t = 0.0, value_parser = dollars)]
    pub price_store_gb: f64,
    /// Dollars per million invocations of the function
    #[arg(long, env = "CAIRN_PRICE_INVOCATIONS", value_name = "USD", default_value_t = 0.2, value_parser = dollars)]
    pub price_invocations: f64,
    /// Dollars per million GB-seconds of the function
    #[arg(long, env = "CAIRN_PRICE_GB_SECONDS", value_name = "USD", default_value_t = 13.3334, value_parser = dollars)]
    pub price_gb_seconds: f64,
}

impl Default for Prices {
    fn default() -> Self {
        Self {
            price_gets: 0.4,
            price_puts: 5.0,
            price_store_gb: 0.0,
            price_invocations: 0.2,
            price_gb_seconds: 13.3334,
        }
    }
}

fn dollars(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("expected a price in dollars, 0 or more".into()),
    }
}

/// Prices, and what runs the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Till {
    prices: Prices,
    /// GB of the function; `None` outside of one.
    function_gb: Option<f64>,
}

impl Till {
    pub(crate) fn new(prices: Prices) -> Self {
        let mib = std::env::var(LAMBDA_MEMORY).ok().and_then(|mib| mib.parse::<f64>().ok());
        Self { prices, function_gb: mib.map(|mib| mib / 1_024.0) }
    }

    #[cfg(test)]
    pub(crate) fn of(prices: Prices, function_gb: Option<f64>) -> Self {
        Self { prices, function_gb }
    }

    /// Billionths of a dollar for what was used in so much time.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate; saturates"
    )]
    pub(crate) fn nanodollars(&self, usage: &Usage, elapsed: Duration) -> u64 {
        let Prices { price_gets, price_puts, price_store_gb, price_invocations, price_gb_seconds } = self.prices;
        let function =
            self.function_gb.map_or(0.0, |gb| price_invocations + price_gb_seconds * gb * elapsed.as_secs_f64());
        let millionths = price_gets * usage.gets as f64
            + price_puts * usage.puts as f64
            + price_store_gb * usage.store_bytes as f64 / 1e3
            + function;
        (millionths * 1e3).round() as u64
    }
}

/// What one segment is expected to take.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Step {
    /// Its ULID.
    pub segment: String,
    /// Its shard.
    pub shard: u32,
    /// Points in it.
    pub points: u64,
    /// How it would be read: `here`, `ranges` or `whole`.
    pub read: &'static str,
    /// Requests to the store.
    pub gets: u64,
    /// Bytes from the store.
    pub store_bytes: u64,
    /// Dependent rounds of requests.
    pub waves: u64,
}

/// What a query is expected to take, without running it.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// By segment.
    pub steps: Vec<Step>,
    /// The whole: waves, GETs, bytes, segments, money.
    pub usage: Usage,
    /// Until the answer, without the time to compute it.
    pub waiting: Duration,
}

impl Estimate {
    /// Adds the steps up: segments are read beside one another, and one request looks for the newest version.
    pub(crate) fn new(steps: Vec<Step>, pace: Pace, till: &Till) -> Self {
        let sum = |of: fn(&Step) -> u64| steps.iter().map(of).sum::<u64>();
        let waves = steps.iter().map(|step| step.waves).max().unwrap_or(0).max(1);
        let mut usage = Usage {
            waves,
            gets: sum(|step| step.gets) + 1,
            store_bytes: sum(|step| step.store_bytes),
            segments: steps.len() as u64,
            ..Usage::default()
        };
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let seconds = pace.seconds(usage.store_bytes, 4) + (waves as f64 - 1.0) * pace.latency_s;
        let waiting = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        usage.cost_nanodollars = till.nanodollars(&usage, waiting);
        Self { steps, usage, waiting }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_follows_from_counts_and_time() {
        let usage = Usage { gets: 25, puts: 2, store_bytes: 8_000_000, ..Usage::default() };
        let second = Duration::from_secs(1);
        let server = Till::of(Prices::default(), None);
        // 25 x 0.4 + 2 x 5 millionths.
        assert_eq!(server.nanodollars(&usage, second), 20_000);
        let function = Till::of(Prices::default(), Some(2.0));
        assert_eq!(function.nanodollars(&usage, second), 20_000 + 200 + 26_667);
        let abroad = Till::of(Prices { price_store_gb: 0.09, ..Prices::default() }, None);
        assert_eq!(abroad.nanodollars(&usage, second), 20_000 + 720_000);
        assert_eq!(server.nanodollars(&Usage { gets: u64::MAX, ..usage }, second), u64::MAX, "saturates");
    }

    #[test]
    fn estimates_add_up() {
        let step = |read, gets, store_bytes, waves| Step {
            segment: "s".into(),
            shard: 0,
            points: 9,
            read,
            gets,
            store_bytes,
            waves,
        };
        let steps = vec![step("here", 0, 0, 0), step("ranges", 20, 2_000_000, 3), step("whole", 1, 1_000, 1)];
        let estimate = Estimate::new(steps, Pace::REMOTE, &Till::of(Prices::default(), None));
        assert_eq!((estimate.usage.waves, estimate.usage.gets, estimate.usage.segments), (3, 22, 3));
        assert_eq!(estimate.usage.cost_nanodollars, 8_800);
        assert!(estimate.waiting > Duration::from_millis(90) && estimate.waiting < Duration::from_millis(110));
        let nothing = Estimate::new(Vec::new(), Pace::LOCAL, &Till::of(Prices::default(), None));
        assert_eq!((nothing.usage.waves, nothing.usage.gets), (1, 1));
    }
}
