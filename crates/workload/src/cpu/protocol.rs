//! What the one who measures and its instances say to each other: JSON, one message a line.

use crate::{CpuTime, Error};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};

/// To an instance. The end of its input ends it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Prepare this.
    Prepare(Job),
    /// Begin to work at this time of the monotonic clock, the same for all.
    Start { at_ns: u64 },
}

/// What one instance is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) index: usize,
    pub(super) cpu: Option<usize>,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Generated { seed: u64, text: u64, data: u64, passes: u64 },
    Program { command: String },
}

/// From an instance.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// Prepared and warm, with how many functions.
    Ready { functions: Option<u64> },
    /// Passes done of those that count.
    Passes { done: u64 },
    /// The work is done.
    Counted(Counted),
    /// The work cannot be done.
    Failed { error: String },
    /// Passes or runs after the work; the last message.
    Extra { done: u64 },
}

/// What the work took.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Counted {
    pub(super) seconds: f64,
    pub(super) spent: Spent,
    pub(super) checksum: Option<String>,
}

/// What a thread, or the children that were waited for, used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Spent {
    pub(super) cpu: CpuTime,
    /// `None` where the kernel does not say.
    pub(super) switches: Option<Switches>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Switches {
    pub(super) voluntary: u64,
    pub(super) involuntary: u64,
}

impl Spent {
    pub(super) fn of_thread() -> Self {
        Self::read(UsageWho::RUSAGE_THREAD)
    }

    pub(super) fn of_children() -> Self {
        Self::read(UsageWho::RUSAGE_CHILDREN)
    }

    fn read(who: UsageWho) -> Self {
        // The kernel knows both; see `CpuTime`.
        getrusage(who).map_or_else(
            |_| Self::default(),
            |used| Self { cpu: CpuTime::from(&used), switches: switches(&used) },
        )
    }

    pub(super) fn since(self, earlier: Self) -> Self {
        let switches = self.switches.zip(earlier.switches).map(|(now, then)| Switches {
            voluntary: now.voluntary.saturating_sub(then.voluntary),
            involuntary: now.involuntary.saturating_sub(then.involuntary),
        });
        Self { cpu: self.cpu - earlier.cpu, switches }
    }
}

fn switches(used: &Usage) -> Option<Switches> {
    Some(Switches {
        voluntary: u64::try_from(used.voluntary_context_switches()).ok()?,
        involuntary: u64::try_from(used.involuntary_context_switches()).ok()?,
    })
}

/// Sends a message.
pub(super) fn send(to: &mut impl Write, message: &impl Serialize) -> Result<(), Error> {
    let what = || Error::io::<std::io::Error>("cannot send to the other process");
    let mut line = serde_json::to_vec(message).map_err(|error| what()(error.into()))?;
    line.push(b'\n');
    to.write_all(&line).and_then(|()| to.flush()).map_err(what())
}

/// The next message; `None` at the end.
pub(super) fn receive<M: DeserializeOwned>(from: &mut impl BufRead) -> Result<Option<M>, Error> {
    let mut line = String::new();
    let read =
        from.read_line(&mut line).map_err(Error::io("cannot receive from the other process"))?;
    if read == 0 {
        return Ok(None);
    }
    let wrong = |_| Error::Peer(format!("unexpected message of the other process: {line:.80}"));
    serde_json::from_str(&line).map(Some).map_err(wrong)
}
