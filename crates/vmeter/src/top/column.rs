//! The columns of screen and table.

use clap::ValueEnum;
use clap::builder::PossibleValue;

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Column {
    /// Name; also that of the rows which are no VM.
    Name,
    /// The platform's own number.
    Id,
    /// Platform.
    Platform,
    /// State.
    State,
    /// CPU time, I/O work included.
    Cpu,
    /// Executing the guest.
    Guest,
    /// VMM's work.
    Vmm,
    /// I/O work charged directly.
    IoDirect,
    /// I/O work charged by share.
    IoShared,
    /// Waiting for a CPU.
    Ready,
    /// vCPUs.
    Vcpus,
    /// Memory.
    Memory,
    /// Packets received.
    RxPackets,
    /// Packets sent.
    TxPackets,
    /// Bytes received.
    RxBytes,
    /// Bytes sent.
    TxBytes,
    /// Disk reads.
    Reads,
    /// Disk writes.
    Writes,
    /// Bytes read.
    ReadBytes,
    /// Bytes written.
    WriteBytes,
    /// Guest kernel.
    GuestSystem,
    /// Guest programs.
    GuestPrograms,
    /// Stolen from the guest.
    Steal,
    /// Exits from the guest.
    Exits,
    /// Halt polling.
    HaltPoll,
    /// Xen's cpupool.
    Cpupool,
}

/// What is fixed about a column.
struct Facts {
    column: Column,
    /// Its word on the command line.
    key: &'static str,
    /// Its title, no wider than `width`.
    title: &'static str,
    /// Terminal columns that its cells take (the name takes what is left).
    width: usize,
    /// What it shows, for help.
    what: &'static str,
}

const fn facts(
    column: Column,
    key: &'static str,
    title: &'static str,
    width: usize,
    what: &'static str,
) -> Facts {
    Facts { column, key, title, width, what }
}

use Column as C;

/// One line per column, in the order of their declaration.
const FACTS: [Facts; 26] = [
    facts(C::Name, "name", "NAME", 8, "name of the VM, driver domain or part"),
    facts(C::Id, "id", "ID", 7, "domain number, pid of the VMM, or control group"),
    facts(C::Platform, "platform", "PLAT", 6, "xen, kvm, tcg (emulated) or cgroup"),
    facts(C::State, "state", "STATE", 5, "run, block, pause, shut, crash, dying, ended"),
    facts(C::Cpu, "cpu", "CPU%", 5, "CPU with I/O work done for it, % of one CPU"),
    facts(C::Guest, "guest", "GUEST", 5, "% executing the guest"),
    facts(C::Vmm, "vmm", "VMM", 5, "% virtual machine monitor's work for it"),
    facts(C::IoDirect, "io-direct", "IODIR", 5, "% I/O work by threads that serve it alone"),
    facts(C::IoShared, "io-shared", "IOSHR", 5, "% its share of interrupt work for I/O"),
    facts(C::Ready, "ready", "READY", 5, "% its vCPUs were ready and waited for a CPU"),
    facts(C::Vcpus, "vcpus", "VCPUS", 5, "vCPUs online"),
    facts(C::Memory, "memory", "MEM", 5, "memory that it holds"),
    facts(C::RxPackets, "rx-packets", "RX/s", 5, "packets/s that the guest receives"),
    facts(C::TxPackets, "tx-packets", "TX/s", 5, "packets/s that the guest sends"),
    facts(C::RxBytes, "rx-bytes", "RXB/s", 5, "bytes/s that the guest receives"),
    facts(C::TxBytes, "tx-bytes", "TXB/s", 5, "bytes/s that the guest sends"),
    facts(C::Reads, "reads", "RD/s", 5, "disk reads/s"),
    facts(C::Writes, "writes", "WR/s", 5, "disk writes/s"),
    facts(C::ReadBytes, "read-bytes", "RDB/s", 5, "bytes/s read from disk"),
    facts(C::WriteBytes, "write-bytes", "WRB/s", 5, "bytes/s written to disk"),
    facts(C::GuestSystem, "guest-os", "G-OS", 5, "% guest's operating system, if it reports"),
    facts(C::GuestPrograms, "guest-programs", "GPROG", 5, "% guest's programs, if it reports"),
    facts(C::Steal, "steal", "STEAL", 5, "% stolen from the guest, if it reports"),
    facts(C::Exits, "exits", "EXITS", 5, "exits/s from the guest to the hypervisor"),
    facts(C::HaltPoll, "halt-poll", "HPOLL", 5, "% polling before sleeping, part of VMM"),
    facts(C::Cpupool, "cpupool", "POOL", 5, "Xen cpupool"),
];

impl Column {
    /// All, in the order in which they are shown.
    pub fn all() -> impl Iterator<Item = Self> {
        FACTS.iter().map(|facts| facts.column)
    }

    /// Those that are shown unless others are chosen.
    pub fn usual() -> Vec<Self> {
        let seldom = [C::Id, C::Steal, C::Exits, C::HaltPoll, C::Cpupool];
        Self::all().filter(|column| !seldom.contains(column)).collect()
    }

    /// The usual ones, what guests report of themselves beside what is measured of them.
    pub fn with_guests() -> Vec<Self> {
        let reported = [C::GuestSystem, C::GuestPrograms, C::Steal];
        let (before, after): (Vec<_>, Vec<_>) = Self::usual()
            .into_iter()
            .filter(|column| !reported.contains(column))
            .partition(|column| *column <= C::Guest);
        [before, reported.to_vec(), after].concat()
    }

    fn facts(self) -> &'static Facts {
        &FACTS[self as usize]
    }

    /// Its word on the command line.
    pub fn key(self) -> &'static str {
        self.facts().key
    }

    /// Its title.
    pub fn title(self) -> &'static str {
        self.facts().title
    }

    /// The width of its cells on a terminal; for the name, its least.
    pub fn width(self) -> usize {
        self.facts().width
    }

    /// What it shows.
    pub fn what(self) -> &'static str {
        self.facts().what
    }

    /// Words, aligned to the left and sorted upwards; the others are numbers.
    pub fn is_text(self) -> bool {
        matches!(self, C::Name | C::Id | C::Platform | C::State)
    }
}

impl ValueEnum for Column {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Column; FACTS.len()] = {
            let mut all = [Column::Name; FACTS.len()];
            let mut i = 0;
            while i < all.len() {
                all[i] = FACTS[i].column;
                i += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.key()).help(self.what()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_its_own_facts_and_a_title_that_fits() {
        for (place, facts) in FACTS.iter().enumerate() {
            assert_eq!(facts.column as usize, place);
            assert!(facts.title.len() <= facts.width, "{}", facts.title);
        }
        assert_eq!(FACTS.len(), C::Cpupool as usize + 1);
    }
}
