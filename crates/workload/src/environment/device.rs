//! Which network device a load goes over.

use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_indextoname;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The device of the local address, loopback where both ends are this machine. A link-local
/// address, which several devices may have, is that of its zone's device.
pub fn device_between(from: SocketAddr, to: SocketAddr) -> Option<String> {
    let (local, peer) = (from.ip(), to.ip());
    if local == peer || local.to_canonical().is_loopback() {
        return Some("lo".to_owned());
    }
    if let SocketAddr::V6(zoned) = from
        && zoned.scope_id() != 0
    {
        return if_indextoname(zoned.scope_id()).ok()?.into_string().ok();
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
    device_between(socket.local_addr().ok()?, peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_reached_by_loopback() {
        assert_eq!(device_towards("127.0.0.1:9".parse().unwrap()).as_deref(), Some("lo"));
        let own = "10.1.2.3:1".parse().unwrap();
        assert_eq!(device_between(own, own).as_deref(), Some("lo"));
        assert_eq!(device_between("192.0.2.1:1".parse().unwrap(), own), None);
        let (near, far) = ("[fe80::1%1]:1".parse().unwrap(), "[fe80::2%1]:1".parse().unwrap());
        assert_eq!(device_between(near, far).as_deref(), Some("lo"), "by its zone");
    }
}
