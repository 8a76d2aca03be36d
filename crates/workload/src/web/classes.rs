//! httperf's classes of errors.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Why a request got no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// No reply within the timeout.
    ClientTimo,
    /// TCP gave up.
    SocketTimo,
    /// Nobody listens.
    ConnRefused,
    /// The server, or its machine, broke the connection.
    ConnReset,
    /// This process may open no more files.
    FdUnavail,
    /// No local port is free.
    AddrUnavail,
    /// This machine may open no more files.
    FtabFull,
    /// A reply whose header lines RFC 9112 does not allow; the reason is kept.
    BadHeader,
    /// Anything else; the reason is kept.
    Other,
}

impl Class {
    /// The class of a failed call.
    pub fn of(error: Errno) -> Self {
        match error {
            Errno::TIMEDOUT => Self::SocketTimo,
            Errno::CONNREFUSED => Self::ConnRefused,
            Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED => Self::ConnReset,
            Errno::MFILE => Self::FdUnavail,
            Errno::ADDRNOTAVAIL => Self::AddrUnavail,
            Errno::NFILE => Self::FtabFull,
            _ => Self::Other,
        }
    }
}

/// Requests, or connections with all their calls, that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Errors {
    /// All classes together.
    pub total: u64,
    /// No reply within the timeout.
    pub client_timo: u64,
    /// TCP gave up.
    pub socket_timo: u64,
    /// Connection refused.
    pub connrefused: u64,
    /// Connection reset, or closed in the middle of a reply.
    pub connreset: u64,
    /// RLIMIT_NOFILE reached.
    pub fd_unavail: u64,
    /// No local port free.
    pub addrunavail: u64,
    /// The system's file table full.
    pub ftab_full: u64,
    /// A reply's header lines were not as RFC 9112 has them.
    #[serde(default)]
    pub bad_header: u64,
    /// Anything else.
    pub other: u64,
    /// What those of `bad-header` and `other` were.
    #[serde(rename = "other_reasons")]
    pub other_reasons: BTreeMap<String, u64>,
}

/// Reasons that are told apart; a hostile server could else invent any number.
const MOST_REASONS: usize = 16;

impl Errors {
    /// Counts one.
    pub fn count(&mut self, class: Class, reason: &str) {
        self.total += 1;
        let counter = match class {
            Class::ClientTimo => &mut self.client_timo,
            Class::SocketTimo => &mut self.socket_timo,
            Class::ConnRefused => &mut self.connrefused,
            Class::ConnReset => &mut self.connreset,
            Class::FdUnavail => &mut self.fd_unavail,
            Class::AddrUnavail => &mut self.addrunavail,
            Class::FtabFull => &mut self.ftab_full,
            Class::BadHeader => &mut self.bad_header,
            Class::Other => &mut self.other,
        };
        *counter += 1;
        if matches!(class, Class::BadHeader | Class::Other)
            && (self.other_reasons.len() < MOST_REASONS || self.other_reasons.contains_key(reason))
        {
            *self.other_reasons.entry(reason.to_owned()).or_default() += 1;
        }
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: &Self) {
        self.total += other.total;
        self.client_timo += other.client_timo;
        self.socket_timo += other.socket_timo;
        self.connrefused += other.connrefused;
        self.connreset += other.connreset;
        self.fd_unavail += other.fd_unavail;
        self.addrunavail += other.addrunavail;
        self.ftab_full += other.ftab_full;
        self.bad_header += other.bad_header;
        self.other += other.other;
        for (reason, count) in &other.other_reasons {
            *self.other_reasons.entry(reason.clone()).or_default() += count;
        }
    }

    /// Errors that were the generator's own: it had no file or port to send from.
    #[must_use]
    pub fn of_the_generator(&self) -> u64 {
        self.fd_unavail + self.addrunavail + self.ftab_full
    }
}
