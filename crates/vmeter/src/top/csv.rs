//! `--format csv`: the JSON's figures, a row per VM and interval, and rows for the driver
//! domains, what is unattributed, and the host (docs/json.md). An absent value is empty.

use super::{View, json, rows};
use account::{DriverUsage, HostUsage, Usage, VmUsage};
use csv::{Terminator, Writer, WriterBuilder};
use model::{Nanos, Reading, csv_text, escape, shorten};
use std::fmt::Display;
use std::io;

/// The first line.
pub const HEADER: &str = "time,interval_s,kind,id,name,platform,state,vcpus,memory_bytes,\
cpu_total_s,cpu_guest_s,cpu_vmm_s,cpu_io_direct_s,cpu_io_shared_s,cpu_own_s,ready_s,\
net_rx_packets,net_tx_packets,net_rx_bytes,net_tx_bytes,\
disk_reads,disk_writes,disk_read_bytes,disk_write_bytes,exits,halt_poll_s,cpupool,\
cpu_guest_os_s,cpu_guest_programs_s,steal_s\n";

/// Maximum length of a name in characters.
const MAX_NAME: usize = 256;

/// The interval's lines.
///
/// # Errors
/// A row that has not as many fields as [`HEADER`], which no input causes.
pub fn text(usage: &Usage, view: &View) -> io::Result<Vec<u8>> {
    let shown = rows::vms(usage, view);
    let to = Vec::with_capacity(192 * (shown.len() + 3));
    let mut lines = Lines {
        to: WriterBuilder::new().terminator(Terminator::Any(b'\n')).from_writer(to),
        start: [json::time(usage.moment.unix), usage.interval.seconds().to_string()],
        row: Vec::new(),
    };
    for vm in shown {
        lines.vm(vm)?;
    }
    for driver in &usage.drivers {
        lines.driver(driver)?;
    }
    lines.host(&usage.host)?;
    lines.to.into_inner().map_err(|error| io::Error::other(error.to_string()))
}

struct Lines {
    to: Writer<Vec<u8>>,
    /// The fields with which all lines of the interval start.
    start: [String; 2],
    row: Vec<String>,
}

impl Lines {
    fn begin(&mut self, kind: &str, id: impl Display, name: &str) {
        self.row.clear();
        self.row.extend_from_slice(&self.start);
        self.put(kind);
        self.outside(&id.to_string());
        self.outside(name);
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(self.to.write_record(&self.row)?)
    }

    fn put(&mut self, value: impl Display) {
        self.row.push(value.to_string());
    }

    fn reading<T: Copy + Into<u64>>(&mut self, value: &Reading<T>) {
        self.row.push(value.as_ref().map_or(String::new(), |value| (*value).into().to_string()));
    }

    fn seconds(&mut self, value: &Reading<Nanos>) {
        self.row.push(value.as_ref().map_or(String::new(), |time| time.seconds().to_string()));
    }

    fn blank(&mut self, fields: usize) {
        self.row.extend(std::iter::repeat_n(String::new(), fields));
    }

    /// Text from outside: without control characters and formulas.
    fn outside(&mut self, text: &str) {
        self.put(csv_text(&escape(&shorten(text, MAX_NAME))));
    }

    fn vm(&mut self, vm: &VmUsage) -> io::Result<()> {
        self.begin("vm", &vm.id, &vm.name);
        self.put(vm.platform);
        self.put(vm.state.word());
        self.reading(&vm.vcpus);
        self.reading(&vm.memory);
        let cpu = &vm.cpu;
        for time in [&cpu.total, &cpu.guest, &cpu.vmm, &cpu.io_direct, &cpu.io_shared] {
            self.seconds(time);
        }
        self.blank(1);
        self.seconds(&vm.ready);
        match &vm.net {
            Ok(net) => {
                self.put(net.rx_packets.0);
                self.put(net.tx_packets.0);
                self.put(net.rx_bytes.0);
                self.put(net.tx_bytes.0);
            }
            Err(_) => self.blank(4),
        }
        self.reading(&vm.disk.reads);
        self.reading(&vm.disk.writes);
        self.reading(&vm.disk.read_bytes);
        self.reading(&vm.disk.write_bytes);
        self.reading(&vm.exits);
        self.seconds(&vm.halt_poll);
        self.reading(&vm.cpupool);
        for time in [&vm.guest_system, &vm.guest_programs, &vm.steal] {
            self.seconds(time);
        }
        self.end()
    }

    fn driver(&mut self, driver: &DriverUsage) -> io::Result<()> {
        self.begin("idd", driver.id, &driver.name);
        self.blank(2);
        self.reading(&driver.vcpus);
        self.reading(&driver.memory);
        self.seconds(&driver.total);
        self.blank(2);
        self.seconds(&driver.direct);
        self.seconds(&driver.shared);
        self.seconds(&driver.own);
        self.blank(15);
        self.end()
    }

    fn host(&mut self, host: &HostUsage) -> io::Result<()> {
        self.begin("unattributed", "", "");
        self.blank(4);
        self.seconds(&host.unattributed);
        self.blank(20);
        self.end()?;
        self.begin("host", "", &host.system);
        self.blank(2);
        self.put(host.cpus);
        self.reading(&host.memory);
        self.seconds(&host.busy);
        self.blank(20);
        self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::fixture;

    fn lines(usage: &Usage, view: &View) -> String {
        String::from_utf8(text(usage, view).unwrap()).unwrap()
    }

    #[test]
    fn the_rows_are_the_documented_ones() {
        let view = View { sort: None, ..View::default() };
        let all = format!(
            "{HEADER}{}{}",
            lines(&fixture::xen(), &view),
            lines(&fixture::unprivileged(), &view)
        );
        crate::golden::check("top/intervals.csv", &all);
    }

    #[test]
    fn attack_by_a_name_stays_in_its_field_and_is_no_formula() {
        let mut usage = fixture::unprivileged();
        for (name, field) in [("a,\"b\"\r\n\u{1b}c", "a,\"b\"\\r\\n\\u{1b}c"), ("=1+1", "'=1+1")] {
            usage.vms[0].name = name.to_owned();
            let text = format!("{HEADER}{}", lines(&usage, &View::default()));
            let mut read = csv::Reader::from_reader(text.as_bytes());
            let rows: Vec<_> = read.records().map(Result::unwrap).collect();
            assert!(rows.len() >= 3 && rows.iter().any(|row| &row[4] == field), "{text}");
        }
    }
}
