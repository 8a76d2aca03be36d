//! The loads of a plan as the workloads that agents run.

use super::Load;
use std::path::{Path, PathBuf};
use std::time::Duration;
use workload::{cpu, tcp, web};

/// A TCP load, a packet a write; any other load gives the defaults.
pub(crate) fn tcp(load: &Load, window: Duration, warmup: Duration) -> tcp::Plan {
    let (size, rate) = match load {
        Load::Tcp { size, rate } => (usize::try_from(*size).unwrap_or(usize::MAX), *rate),
        _ => (1448, 1.0),
    };
    tcp::Plan {
        size,
        rate: Some(rate),
        pace: tcp::Pace::Sleep,
        streams: 1,
        duration: window,
        warmup,
        packets: tcp::Packets::OnePerWrite,
        reverse: false,
        congestion: Some(tcp::UNPACED_CONGESTION.to_owned()),
    }
}

/// How long a web request may take: emulated machines are slow.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Connections of a web load at a time.
const CONNECTIONS: usize = 1000;

/// A web load on a server at `url`, whose file set is in `fileset` on the client too.
pub(crate) fn web(
    load: &Load,
    (warmup, window): (Duration, Duration),
    url: String,
    fileset: &Path,
    seed: u64,
) -> web::Plan {
    let (rate, per) = match load {
        Load::Web { rate, per, .. } => (*rate, *per),
        _ => (1.0, web::Per::Connection),
    };
    web::Plan {
        url,
        load: web::Load::Open { rate, per, arrivals: web::Arrivals::Constant },
        calls: 1,
        max_connections: CONNECTIONS,
        timeout: TIMEOUT,
        duration: window,
        warmup,
        threads: 1,
        fileset: Some(fileset.to_owned()),
        seed,
    }
}

/// The share of a CPU load that one of its targets has: all of it, or, where it `lingers` for the
/// others that work beside it, one program.
pub(crate) fn cpu(load: &Load, lingers: bool) -> cpu::Plan {
    let Load::Cpu { instances, text, data, passes, .. } = load else {
        return cpu::Plan::default();
    };
    cpu::Plan {
        text: *text,
        data: *data,
        passes: *passes,
        instances: if lingers { 1 } else { *instances },
        placement: cpu::Placement::SameCpu,
        linger: lingers,
        ..cpu::Plan::default()
    }
}

/// Where a file set of so many directories lies on a machine.
pub(crate) fn fileset(dirs: usize) -> PathBuf {
    std::env::temp_dir().join(format!("vmeter-fileset-{dirs}"))
}
