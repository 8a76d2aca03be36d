//! `--format csv`: the JSON's figures, a row per VM and interval, and rows for the driver
//! domains, what is unattributed, and the host (docs/json.md). An absent value is empty.

use super::{View, json, rows};
use account::{DriverUsage, HostUsage, Usage, VmUsage};
use model::{Nanos, Reading};
use std::fmt::{Display, Write};

/// The first line.
pub const HEADER: &str = "time,interval_s,kind,id,name,platform,state,vcpus,memory_bytes,\
cpu_total_s,cpu_guest_s,cpu_vmm_s,cpu_io_direct_s,cpu_io_shared_s,cpu_own_s,ready_s,\
net_rx_packets,net_tx_packets,net_rx_bytes,net_tx_bytes,\
disk_reads,disk_writes,disk_read_bytes,disk_write_bytes,exits,halt_poll_s,cpupool,\
cpu_guest_os_s,cpu_guest_programs_s,steal_s\n";

/// Names are cut to so many characters.
const LONGEST_NAME: usize = 256;

/// The interval's lines.
pub fn text(usage: &Usage, view: &View) -> String {
    let shown = rows::vms(usage, view);
    let mut lines = Lines {
        text: String::with_capacity(192 * (shown.len() + 3)),
        start: format!("{},{}", json::time(usage.moment.unix), usage.interval.seconds()),
    };
    for vm in shown {
        lines.vm(vm);
    }
    for driver in &usage.drivers {
        lines.driver(driver);
    }
    lines.host(&usage.host);
    lines.text
}

struct Lines {
    text: String,
    /// The fields that all lines of the interval begin with.
    start: String,
}

impl Lines {
    fn begin(&mut self, kind: &str, id: impl Display, name: &str) {
        self.text.push_str(&self.start);
        self.put(kind);
        self.quoted(&id.to_string());
        self.quoted(name);
    }

    /// Appends a field. Writing to a String cannot fail.
    fn put(&mut self, value: impl Display) {
        let _ = write!(self.text, ",{value}");
    }

    fn reading<T: Copy + Into<u64>>(&mut self, value: &Reading<T>) {
        match value {
            Ok(value) => self.put((*value).into()),
            Err(_) => self.text.push(','),
        }
    }

    fn seconds(&mut self, value: &Reading<Nanos>) {
        match value {
            Ok(time) => self.put(time.seconds()),
            Err(_) => self.text.push(','),
        }
    }

    fn blank(&mut self, fields: usize) {
        self.text.extend(std::iter::repeat_n(',', fields));
    }

    /// Text from outside: control characters escaped, quoted as RFC 4180 says.
    fn quoted(&mut self, text: &str) {
        let text = model::escape(&model::shorten(text, LONGEST_NAME));
        if text.contains([',', '"']) {
            let _ = write!(self.text, ",\"{}\"", text.replace('"', "\"\""));
        } else {
            self.put(text);
        }
    }

    fn vm(&mut self, vm: &VmUsage) {
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
        self.text.push('\n');
    }

    fn driver(&mut self, driver: &DriverUsage) {
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
        self.text.push('\n');
    }

    fn host(&mut self, host: &HostUsage) {
        self.begin("unattributed", "", "");
        self.blank(4);
        self.seconds(&host.unattributed);
        self.blank(20);
        self.text.push('\n');
        self.begin("host", "", &host.system);
        self.blank(2);
        self.put(host.cpus);
        self.reading(&host.memory);
        self.seconds(&host.busy);
        self.blank(20);
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::fixture;

    #[test]
    fn the_rows_are_the_documented_ones() {
        let view = View { sort: None, ..View::default() };
        let all = format!(
            "{HEADER}{}{}",
            text(&fixture::xen(), &view),
            text(&fixture::unprivileged(), &view)
        );
        crate::golden::check("top/intervals.csv", &all);
    }

    #[test]
    fn every_row_has_a_field_per_title_and_a_name_stays_in_its_field() {
        let mut usage = fixture::unprivileged();
        usage.vms[0].name = "a,\"b\"\r\n\u{1b}c".to_owned();
        let text = text(&usage, &View::default());
        assert!(text.contains(",\"a,\"\"b\"\"\\r\\n\\u{1b}c\","));
        let fields = HEADER.matches(',').count();
        for line in text.lines().filter(|line| !line.contains('"')) {
            assert_eq!(line.matches(',').count(), fields, "{line}");
        }
    }
}
