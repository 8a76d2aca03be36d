//! Who used the CPU: the dissertation's equations 4.1–4.9, charging, and conservation. Pure.
//!
//! [`usage`] turns two snapshots of raw counters into what every VM, driver domain and the
//! host used between them, and says how well the parts add up to the whole.

mod charge;
mod conserve;
pub mod equations;
mod inside;
mod pair;
mod tasks;
mod traffic;
mod usage;
mod vm;

pub use usage::{BackendUsage, Cpu, DriverUsage, HostUsage, SelfUsage, Usage, VcpuUsage, VmUsage};

use model::Snapshot;

/// Why two snapshots cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The counters started anew between the two.
    #[error("the two snapshots are from different boots: counters cannot be subtracted")]
    OtherBoot,
    /// The second is not later than the first.
    #[error(
        "the second snapshot is not later than the first (a saved tree of one reading has no rates)"
    )]
    NotLater,
}

/// What was used between two snapshots.
///
/// CPU times are those of the common interval T (the host's): an increase that was read over a
/// slightly longer or shorter window is scaled to T. Packets, requests and bytes are counts.
///
/// # Errors
/// [`AccountError`], where the two snapshots have no interval in common terms.
pub fn usage(from: &Snapshot, to: &Snapshot) -> Result<Usage, AccountError> {
    if !from.moment.boot.is_empty()
        && !to.moment.boot.is_empty()
        && from.moment.boot != to.moment.boot
    {
        return Err(AccountError::OtherBoot);
    }
    let interval = from.host.window.interval_to(to.host.window).ok_or(AccountError::NotLater)?;
    let (scale, before) = (pair::Scale { interval }, pair::Before::of(from));
    let span = pair::Span { from, to, scale, before };

    let mut vms = vm::rows(&span);
    let work = charge::work(&span);
    for work in work.iter().flatten() {
        vm::give_back(&mut vms, &work.left);
    }
    let whole = conserve::whole(&span, charge::threads(&span, &work, &vms));
    let drivers = charge::drivers(&span, &whole.busy, work, &mut vms);
    let host = conserve::host(&span, whole, &vms, &drivers);
    Ok(Usage {
        moment: to.moment.clone(),
        interval,
        host,
        drivers,
        vms,
        me: SelfUsage { cpu: to.me.cpu.saturating_sub(from.me.cpu), rss: to.me.rss },
    })
}
