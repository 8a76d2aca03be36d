//! What agent and controller say to each other.

use crate::frame::LARGEST;
use crate::sampling::{MAX_NAMES, MOST_DRAINED, MOST_NAMES, limited};
use crate::scratch::PIECE;
use crate::{Changed, Checksum, Drained, Opened, Role, Sampling, Stage, SymbolFile};
use model::{Event, Inside, Interrupts, Record, Snapshot, Stamp};
use serde::{Deserialize, Serialize};
use workload::Environment;

/// Changes with every message that an older end would not understand.
pub const PROTOCOL: u32 = 7;

/// From the controller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Always first: who is there?
    Hello {
        /// The controller's protocol.
        protocol: u32,
    },
    /// What time is it?
    Clock,
    /// Read all counters once.
    Snapshot {
        /// Each vCPU's too.
        vcpus: bool,
    },
    /// What does the machine's own kernel count of its CPUs' time? It costs next to nothing.
    Inside,
    /// Start a workload, which ends with this connection: a [`crate::Work`] as JSON.
    Start {
        /// What to run.
        work: String,
    },
    /// How far is it?
    Stage {
        /// The workload's number.
        job: u32,
    },
    /// End it with what it has.
    Stop {
        /// The workload's number.
        job: u32,
    },
    /// Which CPU takes which interrupt, and may?
    Interrupts,
    /// Set something until this connection ends: a [`crate::Setting`] as JSON.
    Set {
        /// What to set.
        setting: String,
    },
    /// Undo all that was set by this connection.
    Restore,
    /// Write a piece of a file into the agent's folder.
    Put {
        /// A plain file name.
        name: String,
        /// Where the piece begins: 0 makes the file anew, else no further than its end.
        offset: u64,
        /// Bytes of the whole file, which takes its place when they are all there.
        size: u64,
        /// At most [`crate::PIECE`] bytes.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// Read a piece of a file in the agent's folder.
    Fetch {
        /// A plain file name.
        name: String,
        /// Where the piece begins.
        offset: u64,
    },
    /// Sample the machine, or tell names, until [`Request::EndSampling`] or this connection ends.
    Sample(Sampling),
    /// Names and maps of before, from this one on.
    Existing {
        /// How many are known already.
        from: u32,
    },
    /// What the rings hold.
    Drain,
    /// Stop; what the rings hold can still be drained.
    EndSampling,
    /// Read a piece of a file that tells what addresses are.
    Symbols {
        /// Which.
        file: SymbolFile,
        /// Where the piece begins.
        offset: u64,
    },
    /// Read such a file and report its checksum alone.
    Checksum(SymbolFile),
}

/// The longest reply with a list of what was set, sampled or could not be undone.
const LONGEST_LIST: usize = 1 << 20;
/// And with little more than some numbers, or why something cannot be done.
const LONGEST_SHORT: usize = 64 << 10;

impl Request {
    /// The longest request that an agent takes: a piece of a file, with room.
    pub const LONGEST: usize = 2 * PIECE;

    /// The longest reply that is taken for it: in memory a reply can be thirty times as large.
    pub(crate) fn longest_reply(&self) -> usize {
        match self {
            Self::Hello { .. }
            | Self::Clock
            | Self::Inside
            | Self::Start { .. }
            | Self::Put { .. }
            | Self::Checksum(_) => LONGEST_SHORT,
            Self::Set { .. } | Self::Restore | Self::Sample(_) | Self::EndSampling => LONGEST_LIST,
            // Of ten thousand VMs, and of an outcome with all its time series.
            Self::Snapshot { .. } | Self::Interrupts => LARGEST / 2,
            Self::Stage { .. } | Self::Stop { .. } => LARGEST,
            Self::Fetch { .. } | Self::Symbols { .. } => PIECE + LONGEST_SHORT,
            Self::Existing { .. } => 2 * MOST_NAMES,
            Self::Drain => MOST_DRAINED + LONGEST_SHORT,
        }
    }

    /// The role that it needs. Samples tell of programs what only the machine's root may know.
    pub(crate) fn role(&self) -> Role {
        match self {
            Self::Set { .. } => Role::Configure,
            Self::Start { .. }
            | Self::Put { .. }
            | Self::Fetch { .. }
            | Self::Sample(_)
            | Self::Symbols { .. }
            | Self::Checksum(_) => Role::Measure,
            // What is about something that this connection began, by a request of those, too.
            Self::Hello { .. }
            | Self::Clock
            | Self::Snapshot { .. }
            | Self::Inside
            | Self::Interrupts
            | Self::Stage { .. }
            | Self::Stop { .. }
            | Self::Existing { .. }
            | Self::Drain
            | Self::EndSampling
            | Self::Restore => Role::Read,
        }
    }

    /// Whether it does more than read, or is about files.
    pub(crate) fn changes(&self) -> bool {
        match self {
            Self::Start { .. } | Self::Set { .. } | Self::Put { .. } | Self::Fetch { .. } => true,
            Self::Hello { .. }
            | Self::Clock
            | Self::Snapshot { .. }
            | Self::Inside
            | Self::Interrupts
            | Self::Stage { .. }
            | Self::Stop { .. }
            | Self::Sample(_)
            | Self::Existing { .. }
            | Self::Drain
            | Self::EndSampling
            | Self::Symbols { .. }
            | Self::Checksum(_)
            | Self::Restore => false,
        }
    }
}

/// From the agent, one for each request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Who this is.
    Hello(Box<Hello>),
    /// The agent's clock when it took the request, in nanoseconds.
    Clock {
        /// CLOCK_MONOTONIC.
        monotonic: u64,
        /// The clock by which samples are stamped.
        stamp: Stamp,
    },
    /// Everything that was read.
    Snapshot(Box<Snapshot>),
    /// The kernel's count of its CPUs' time.
    Inside(Box<Inside>),
    /// A workload has begun.
    Started {
        /// Its number on this connection.
        job: u32,
        /// Where it listens, where it does.
        address: Option<String>,
    },
    /// How far a workload is.
    Stage(Stage),
    /// The table of interrupts.
    Interrupts(Box<Interrupts>),
    /// It is set.
    Set {
        /// Each thing that it is about, and how that was before.
        was: Vec<Changed>,
    },
    /// All settings are undone but for these.
    Restored {
        /// What could not be undone, and why.
        failed: Vec<String>,
    },
    /// The piece is written.
    Put {
        /// The file's path there, for plans that name it.
        path: String,
    },
    /// A piece of a file.
    Piece {
        /// At most [`crate::PIECE`] bytes; none behind the file's end.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
        /// Bytes of the whole file.
        size: u64,
    },
    /// What a file holds, by its checksum.
    Checksum(Checksum),
    /// It samples.
    Sampling(Box<Opened>),
    /// Names and maps of before.
    Existing {
        /// Some.
        #[serde(deserialize_with = "limited::<_, _, MAX_NAMES>")]
        records: Vec<Record>,
        /// How many there are in all.
        all: u32,
    },
    /// What the rings held.
    Drained(Drained),
    /// It samples no more: the events, with the part of the time that each was counted.
    Sampled {
        /// The events.
        events: Vec<Event>,
    },
    /// It cannot be done: why. The connection goes on.
    Failed(String),
}

/// Who an agent is and what it can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Its protocol.
    pub protocol: u32,
    /// Its machine's host name.
    pub host: String,
    /// vmeter's version and the machine.
    pub environment: Environment,
    /// Why it cannot read counters, where it cannot.
    pub unreadable: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;

    /// What a message of so many bytes takes at most if all of them are elements of one kind, in MB: of
    /// the shortest ones, which are zeros.
    fn memory<T: DeserializeOwned>(most: usize) -> usize {
        let zeros = [0; 256];
        let (_, rest) = postcard::take_from_bytes::<T>(&zeros).unwrap();
        most / (zeros.len() - rest.len()) * size_of::<T>() / 1_000_000
    }

    #[test]
    fn attack_by_replies_of_tiny_elements_takes_bounded_memory() {
        let most = Request::Snapshot { vcpus: true }.longest_reply();
        assert_eq!(most, Request::Interrupts.longest_reply());
        let of_snapshots = [
            memory::<model::Vm>(most),
            memory::<model::Vcpu>(most),
            memory::<model::Process>(most),
            memory::<model::Backend>(most),
            memory::<model::Nic>(most),
            memory::<model::Disk>(most),
            memory::<model::Driver>(most),
            memory::<model::Interrupt>(most),
        ];
        println!("{of_snapshots:?} MB");
        assert!(of_snapshots.iter().all(|size| *size < 100), "{of_snapshots:?}");
        let events = memory::<Event>(Request::EndSampling.longest_reply());
        let changes = memory::<Changed>(Request::Restore.longest_reply());
        assert!(events < 100 && changes < 100, "{events} {changes}");
    }
}
