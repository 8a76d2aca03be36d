//! A profile with names: what one function has in an entry is one row.

use crate::image::ImageId;
use crate::label;
use crate::names::NameId;
use crate::place::{Layer, Part, VmIndex};
use crate::profile::{Count, Key, Profile};
use crate::symbols::{Function, Naming, Symbols};
use ahash::AHashMap;
use std::sync::Arc;

/// A profile whose addresses have names.
#[derive(Debug)]
pub struct Named<'a> {
    /// The profile.
    pub profile: &'a Profile,
    /// Its rows: in the order of their keys, and of the names within one.
    pub rows: Vec<Row>,
}

/// What one function has in an entry; or one address, where it has no name.
#[derive(Debug, Clone)]
pub struct Row {
    /// The event, by its number in [`Profile::events`].
    pub event: u16,
    /// The stream that has the samples.
    pub stream: u16,
    /// The VM that caused them.
    pub vm: VmIndex,
    /// In which mode.
    pub layer: Layer,
    /// What for.
    pub part: Part,
    /// The CPU was idle: the event goes on then, and no work was done.
    pub idle: bool,
    /// The process's number, where they are kept apart.
    pub pid: Option<u32>,
    /// The process.
    pub process: NameId,
    /// The image.
    pub image: ImageId,
    /// The address in it, where it has no name.
    pub address: Option<u64>,
    /// The function, or why it is not known.
    pub naming: Naming,
    /// How much there was.
    pub count: Count,
}

/// What is one row.
type RowKey = (Key, Option<Arc<Function>>);

/// Functions in which Linux's idle thread is while there is nothing to do.
const IDLE: [&str; 24] = [
    "acpi_idle_do_entry",
    "acpi_processor_ffh_cstate_enter",
    "acpi_safe_halt",
    "arch_cpu_idle",
    "cpu_idle_poll",
    "cpu_startup_entry",
    "cpuidle_enter_state",
    "cpuidle_idle_call",
    "default_idle",
    "default_idle_call",
    "do_idle",
    "intel_idle",
    "intel_idle_ibrs",
    "intel_idle_irq",
    "mwait_idle",
    "native_safe_halt",
    "poll_idle",
    "pv_native_safe_halt",
    "xen_hypercall_amd",
    "xen_hypercall_hvm",
    "xen_hypercall_intel",
    "xen_hypercall_pv",
    "xen_hypercall_sched_op",
    "xen_safe_halt",
];

impl<'a> Named<'a> {
    /// Brings a profile and its symbols together.
    #[must_use]
    pub fn new(profile: &'a Profile, symbols: &Symbols) -> Self {
        let unnamed: Naming = Err(Arc::new(crate::symbols::Reason::NoSymbol));
        let mut places: AHashMap<RowKey, usize> = AHashMap::new();
        let mut merged: Vec<(RowKey, (Naming, Count))> = Vec::new();
        let mut last: Option<(Key, &Arc<Function>, usize)> = None;
        for &(key, count) in &profile.entries {
            let naming = symbols.get(key.image, key.address).unwrap_or(&unnamed);
            let function = naming.as_ref().ok();
            let address = key.address.filter(|_| function.is_none());
            let bare = Key { address, ..key };
            // Entries are in the order of addresses, and with them those of one function.
            let same = |known| function.is_some_and(|function| Arc::ptr_eq(known, function));
            let place = match last {
                Some((before, known, place)) if before == bare && same(known) => place,
                _ => {
                    let idle = key.idle && idles(function.map(Arc::as_ref));
                    let row = (Key { idle, ..bare }, function.map(Arc::clone));
                    *places.entry(row).or_insert_with_key(|row| {
                        merged.push((row.clone(), (naming.clone(), Count::default())));
                        merged.len() - 1
                    })
                }
            };
            last = function.map(|function| (bare, function, place));
            let (_, (_, sum)) = &mut merged[place];
            *sum = sum.and(count);
        }
        merged.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let rows = merged.into_iter().map(|((key, _), (naming, count))| Row {
            event: key.event,
            stream: key.stream,
            vm: key.vm,
            layer: key.layer,
            part: key.part,
            idle: key.idle,
            pid: key.pid,
            process: key.process,
            image: key.image,
            address: key.address,
            naming,
            count,
        });
        Self { profile, rows: rows.collect() }
    }

    /// A row's process as it is shown, with its number where they are kept apart.
    #[must_use]
    pub fn shown_process(&self, row: &Row) -> String {
        let name = self.profile.shown_name(row.process);
        row.pid.map_or_else(|| name.clone(), |pid| format!("{name} {pid}"))
    }

    /// A row's image as it is shown: with its directories, or without.
    #[must_use]
    pub fn shown_image(&self, row: &Row, full: bool) -> String {
        label::image(self.profile, row.image, Some(&row.naming), full)
    }

    /// A row's function as it is shown, or its image and the address in it.
    #[must_use]
    pub fn shown_symbol(&self, row: &Row) -> String {
        label::symbol(self.profile, row.image, row.address, Some(&row.naming))
    }
}

/// Whether an idle thread that is in a function has nothing to do; it is believed of one that
/// has no name.
fn idles(function: Option<&Function>) -> bool {
    function.is_none_or(|function| {
        let name = function.name.split('.').next().unwrap_or_default();
        IDLE.contains(&name)
    })
}
