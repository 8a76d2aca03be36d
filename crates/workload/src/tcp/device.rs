//! The network device below a connection, and the packets it has counted.

use super::outcome::{Device, Totals, ratio};
use crate::environment::device_between;
use std::fs;
use std::net::TcpStream;

/// Packets that a device has counted since it came up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packets {
    name: String,
    sent: u64,
    received: u64,
}

/// The device that a connection's packets go over.
pub fn of(stream: &TcpStream) -> Option<String> {
    device_between(stream.local_addr().ok()?, stream.peer_addr().ok()?)
}

impl Packets {
    /// Reads a device's counters, in the network namespace of the calling thread.
    pub fn read(name: &str) -> Option<Self> {
        // /sys shows the namespace that it was mounted in; /proc shows the reader's.
        parse(&fs::read_to_string("/proc/thread-self/net/dev").ok()?, name)
    }

    /// What was counted since `earlier`, against what this end's connections counted.
    pub fn since(&self, earlier: &Self, totals: &Totals) -> Device {
        let sent = self.sent.wrapping_sub(earlier.sent);
        let received = self.received.wrapping_sub(earlier.received);
        let seen = if self.name == "lo" { sent } else { sent + received };
        let expected = totals.data_segments + totals.acks;
        Device {
            name: self.name.clone(),
            packets_sent: sent,
            packets_received: received,
            deviation: ratio(seen as f64, expected as f64).map(|ratio| ratio - 1.0),
        }
    }
}

fn parse(text: &str, name: &str) -> Option<Packets> {
    let line = text.lines().find_map(|line| {
        let (device, counters) = line.split_once(':')?;
        (device.trim() == name).then_some(counters)
    })?;
    let mut fields = line.split_whitespace().map(str::parse);
    let received = fields.nth(1)?.ok()?;
    let sent = fields.nth(7)?.ok()?;
    Some(Packets { name: name.to_owned(), sent, received })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn loopback_is_found_and_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(of(&stream).as_deref(), Some("lo"));
        let packets = Packets::read("lo").unwrap();
        assert_eq!(packets.sent, packets.received);
        assert_eq!(Packets::read("no-such-device"), None);
    }

    #[test]
    fn columns_are_those_of_proc_net_dev() {
        let text =
            "Inter-|   Receive\n face |bytes\n  eth0: 1000 10 0 0 0 0 0 0 2000 20 0 0 0 0 0 0\n";
        let read = parse(text, "eth0").unwrap();
        assert_eq!((read.received, read.sent), (10, 20));
        assert_eq!(parse(text, "eth"), None);
        assert_eq!(parse("eth0: x", "eth0"), None);
    }
}
