//! What a web load shall do.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// A web load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// `http://HOST[:PORT]/PATH`; with a file set, the URL of its directory.
    pub url: String,
    /// When requests are sent.
    pub load: Load,
    /// Requests on each connection, one after the other (per connection only).
    pub calls: u32,
    /// The most connections open at a time, all threads together.
    pub max_connections: usize,
    /// How long a request may take from its intended time.
    #[serde(rename = "timeout_s", with = "crate::seconds")]
    pub timeout: Duration,
    /// The measured window.
    #[serde(rename = "duration_s", with = "crate::seconds")]
    pub duration: Duration,
    /// Load before it that is not counted.
    #[serde(rename = "warmup_s", with = "crate::seconds")]
    pub warmup: Duration,
    /// Generating threads, each on a CPU of its own where there are as many.
    pub threads: usize,
    /// Asks for the files of this set, whose directory on this machine says how many there are.
    pub fileset: Option<PathBuf>,
    /// Seed of the order of files and of Poisson arrivals.
    pub seed: u64,
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Load {
    /// At a rate, whatever the server does.
    Open {
        /// Connections or requests a second, all threads together.
        rate: f64,
        /// What the rate counts.
        per: Per,
        /// How arrivals are spaced.
        arrivals: Arrivals,
    },
    /// Each connection sends when its last reply is there: no schedule, so no response time from
    /// an intended moment. For capacity and for comparison.
    Closed,
}

/// What a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    /// New connections, with `calls` requests each (httperf's meaning).
    Connection,
    /// Requests, over connections that are kept alive.
    Request,
}

/// How arrivals are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// Evenly.
    Constant,
    /// With exponential gaps.
    Poisson,
}

const LONGEST: Duration = Duration::from_secs(24 * 3600);
const MOST_THREADS: usize = 1024;
const MOST_CONNECTIONS: usize = 1_000_000;

impl Load {
    /// Whether each connection is closed after its calls.
    pub(super) fn closes_connections(self) -> bool {
        matches!(self, Self::Open { per: Per::Connection, .. })
    }
}

impl Plan {
    /// Checks that it can be done.
    ///
    /// # Errors
    /// A sentence that says what cannot be, and what could.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |text: String| Err(Error::Plan(text));
        if let Load::Open { rate, per, .. } = self.load {
            if !(rate.is_finite() && rate > 0.0 && rate <= 1e7) {
                return refuse(format!(
                    "invalid rate {rate}: expected more than 0 and at most 10⁷ per second"
                ));
            }
            if per == Per::Request && self.calls != 1 {
                return refuse(
                    "invalid calls: supported only with a rate per connection".to_owned(),
                );
            }
        } else if self.calls != 1 {
            return refuse("invalid calls: supported only with a rate per connection".to_owned());
        }
        if self.calls == 0 {
            return refuse("invalid calls: expected at least 1".to_owned());
        }
        if !(1..=MOST_THREADS).contains(&self.threads) {
            return refuse(format!(
                "invalid number of threads: expected 1 to {MOST_THREADS}, not {}",
                self.threads
            ));
        }
        if !(self.threads..=MOST_CONNECTIONS).contains(&self.max_connections) {
            return refuse(format!(
                "invalid number of connections {} for {} threads: expected at least one each, at most {MOST_CONNECTIONS}",
                self.max_connections, self.threads
            ));
        }
        if self.timeout < Duration::from_millis(1) || self.timeout > LONGEST {
            return refuse("invalid timeout: expected 1 ms to 24 h".to_owned());
        }
        if self.duration.is_zero() || self.duration > LONGEST || self.warmup > LONGEST {
            return refuse("invalid duration: expected more than 0 s and at most 24 h".to_owned());
        }
        Ok(())
    }

    /// Requests that an arrival brings.
    #[must_use]
    pub fn requests_of_an_arrival(&self) -> u64 {
        u64::from(self.calls)
    }
}
