//! Where connections come from, as far as limits for each place of origin are concerned.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// What one machine, network or VM cannot pretend to be several of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// An IPv4 address, or the 64 bits of an IPv6 network, in which a machine has any address.
    Ip(IpAddr),
    /// A VM, by its context identifier.
    Vsock(u32),
    /// A process of this machine, by a unix socket.
    Local,
}

impl Origin {
    pub(crate) fn of(address: SocketAddr) -> Self {
        Self::Ip(match address.ip().to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from(network))
            }
            address => address,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(network)) => write!(f, "{network}/64"),
            Self::Ip(address) => write!(f, "{address}"),
            Self::Vsock(cid) => write!(f, "vsock:{cid}"),
            Self::Local => f.write_str("the unix socket"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one_origin() {
        let of = |address: &str| Origin::of(address.parse().unwrap());
        assert_eq!(of("[fd00::1]:1"), of("[fd00::2:3]:9"));
        assert_ne!(of("[fd00:0:0:1::1]:1"), of("[fd00::1]:1"));
        assert_eq!(of("[::ffff:10.0.0.1]:1"), of("10.0.0.1:2"));
        assert_ne!(of("10.0.0.1:1"), of("10.0.0.2:1"));
        assert_eq!(of("[fd00::1]:1").to_string(), "fd00::/64");
    }
}
