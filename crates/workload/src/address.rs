//! Addresses, and listening at them.

use crate::Error;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

/// Listens at `address` (`HOST:PORT`; port 0 is any free one; `[::]` takes IPv4 too) with room for
/// so many connections that are not accepted yet.
///
/// # Errors
/// Where that is no address of this machine, or its port is taken.
pub fn listen(address: &str, backlog: i32) -> Result<TcpListener, Error> {
    let wrong = format!("cannot listen at {address}");
    bound(resolve(address, &wrong)?, backlog).map_err(Error::io(wrong))
}

/// The first address of a `HOST:PORT`; `wrong` stands before what the system says.
pub fn resolve(address: &str, wrong: &str) -> Result<SocketAddr, Error> {
    let mut found = address.to_socket_addrs().map_err(Error::io(wrong))?;
    found.next().ok_or_else(|| Error::Plan(format!("{address} has no address")))
}

fn bound(at: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if at.ip().is_unspecified() && at.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&SockAddr::from(at))?;
    socket.listen(backlog)?;
    Ok(socket.into())
}
