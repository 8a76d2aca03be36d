//! Network devices' counters.

use super::text::{fields, lines, parse_number};
use super::tree::Tree;
use model::{Bytes, NicCounters, Operations};
use std::io;
use std::ops::Range;

/// Traffic of one network device as /proc/net/dev counts it, from the device's own side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkCounters {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
}

impl LinkCounters {
    /// Of a backend device (tap, vif): what it sends, the guest receives.
    #[must_use]
    pub fn of_backend(self) -> NicCounters {
        NicCounters {
            rx_packets: Operations(self.tx_packets),
            tx_packets: Operations(self.rx_packets),
            rx_bytes: Bytes(self.tx_bytes),
            tx_bytes: Bytes(self.rx_bytes),
        }
    }

    /// Of a device inside the guest or container.
    #[must_use]
    pub fn of_guest(self) -> NicCounters {
        NicCounters {
            rx_packets: Operations(self.rx_packets),
            tx_packets: Operations(self.tx_packets),
            rx_bytes: Bytes(self.rx_bytes),
            tx_bytes: Bytes(self.tx_bytes),
        }
    }

    /// Takes a line of /proc/net/dev apart: the device's name and its counters.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<(&[u8], Self)> {
        // A name may hold a colon (an old alias, `eth0:1`), a counter may touch it.
        let colon = line.iter().rposition(|byte| *byte == b':')?;
        let name = line.get(..colon)?.trim_ascii();
        let mut words = fields(line.get(colon + 1..)?).map(parse_number);
        let rx_bytes = words.next()??;
        let rx_packets = words.next()??;
        let tx_bytes = words.nth(6)??;
        let tx_packets = words.next()??;
        Some((name, Self { rx_packets, tx_packets, rx_bytes, tx_bytes }))
    }
}

/// All devices of a network namespace, read at once.
#[derive(Debug, Default)]
pub struct NetDevices {
    text: Vec<u8>,
    /// Where in `text` a name stands, and its counters; sorted by name.
    rows: Vec<(Range<usize>, LinkCounters)>,
}

impl NetDevices {
    /// No device yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the host's devices.
    ///
    /// # Errors
    /// Where /proc/net/dev cannot be read.
    pub fn refresh(&mut self, tree: &Tree) -> io::Result<()> {
        // /proc/net is a link to self/net, which a saved tree may hold or not.
        self.refresh_from(tree, "/proc/net/dev")
    }

    /// Reads the devices that a process's network namespace has: `/proc/PID/net/dev`.
    ///
    /// # Errors
    /// Where that file cannot be read.
    pub fn refresh_from(&mut self, tree: &Tree, path: &str) -> io::Result<()> {
        self.rows.clear();
        tree.read(path, &mut self.text)?;
        let mut at = 0;
        for line in lines(&self.text) {
            if let Some((name, counters)) = LinkCounters::parse(line) {
                let indent = line.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                let start = at + indent;
                self.rows.push((start..start + name.len(), counters));
            }
            at += line.len() + 1;
        }
        let text = &self.text;
        self.rows.sort_unstable_by(|a, b| text.get(a.0.clone()).cmp(&text.get(b.0.clone())));
        Ok(())
    }

    /// A device's counters.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<LinkCounters> {
        let wanted = Some(name.as_bytes());
        let at = self.rows.binary_search_by(|row| self.text.get(row.0.clone()).cmp(&wanted));
        self.rows.get(at.ok()?).map(|row| row.1)
    }

    /// All devices, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (String, LinkCounters)> {
        self.rows.iter().map(|row| {
            let name = self.text.get(row.0.clone()).unwrap_or_default();
            (String::from_utf8_lossy(name).into_owned(), row.1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    const LINE: &[u8] =
        b"vif1.0: 900 7    0    0    0     0          0         0   3193      29 0 0";

    #[test]
    fn a_backends_reception_is_the_guests_transmission() {
        let (name, counters) = LinkCounters::parse(LINE).unwrap();
        assert_eq!(name, b"vif1.0");
        let guest = counters.of_backend();
        assert_eq!((guest.tx_packets, guest.tx_bytes), (Operations(7), Bytes(900)));
        assert_eq!((guest.rx_packets, guest.rx_bytes), (Operations(29), Bytes(3193)));
        assert_eq!(counters.of_guest().rx_bytes, Bytes(900));
    }

    #[test]
    fn devices_are_found_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let net = folder.path().join("proc/net");
        std::fs::create_dir_all(&net).unwrap();
        let text = "Inter-| Receive\n face |bytes\n  tap1: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n    \
                    lo:5 6 0 0 0 0 0 0 7 8 0 0 0 0 0 0\n";
        std::fs::write(net.join("dev"), text).unwrap();
        let mut devices = NetDevices::new();
        devices.refresh(&Tree::open(folder.path()).unwrap()).unwrap();
        assert_eq!(devices.get("tap1").unwrap().tx_packets, 4);
        assert_eq!(devices.get("lo").unwrap().rx_bytes, 5);
        assert_eq!(devices.get("tap"), None);
        assert_eq!(devices.iter().count(), 2);
    }

    #[test]
    fn hostile_input() {
        survives(LINE, |bytes| {
            let _ = LinkCounters::parse(bytes);
        });
    }
}
