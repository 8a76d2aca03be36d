//! Waiting at a connection.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;
use std::time::Duration;
use workload::clock;

/// How long the other end may be silent within a message, and how long connecting to it may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a single call waits at a stream: then deadlines are looked at.
pub(crate) const SLICE: Duration = Duration::from_millis(250);

/// What an agent waits at.
pub(crate) trait Wait {
    /// Whether something comes within so many nanoseconds, or has come.
    fn comes(&self, within: u64) -> bool;

    /// After so many nanoseconds without a request the other end is taken for gone.
    fn idle(&self) -> u64 {
        u64::MAX
    }
}

/// Whether something can be read, or accepted, within so many nanoseconds.
pub(crate) fn readable(fd: &impl AsFd, within: u64) -> bool {
    let wait = clock::timespec(within);
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&wait)).is_ok_and(|ready| ready > 0)
}
