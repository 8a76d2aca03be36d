//! Which network device a load goes over.

use nix::ifaddrs::getifaddrs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The device of the local address, loopback where both ends are this machine.
pub fn device_between(local: IpAddr, peer: IpAddr) -> Option<String> {
    if local == peer || local.to_canonical().is_loopback() {
        return Some("lo".to_owned());
    }
    getifaddrs().ok()?.find_map(|interface| {
        let address = interface.address?;
        let found: IpAddr = address
            .as_sockaddr_in()
            .map(|v4| v4.ip().into())
            .or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))?;
        (found == local.to_canonical()).then_some(interface.interface_name)
    })
}

/// The device that packets to `peer` leave by, as the kernel would route them now.
pub fn device_towards(peer: SocketAddr) -> Option<String> {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a datagram socket sends nothing; it only chooses the way.
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(peer).ok()?;
    device_between(socket.local_addr().ok()?.ip(), peer.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_reached_by_loopback() {
        assert_eq!(device_towards("127.0.0.1:9".parse().unwrap()).as_deref(), Some("lo"));
        let own = "10.1.2.3".parse().unwrap();
        assert_eq!(device_between(own, own).as_deref(), Some("lo"));
        assert_eq!(device_between("192.0.2.1".parse().unwrap(), own), None);
    }
}
