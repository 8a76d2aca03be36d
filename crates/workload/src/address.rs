//! Addresses: what a `HOST:PORT` stands for, connecting to the first of them that answers, and
//! listening.

use crate::socket::writable;
use crate::{Control, Error};
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often a wait for a name or a connection looks whether it was stopped.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// Every address of a `HOST:PORT`, in the resolver's order. HOST is a name, an IPv4 address or an
/// IPv6 address in brackets, with a zone where it is link-local: `[fe80::1%eth0]:80`.
///
/// # Errors
/// What is wrong with it, or what the resolver says.
pub fn addresses(address: &str) -> io::Result<Vec<SocketAddr>> {
    let (host, port) = split(address)?;
    lookup(host, port)
}

/// A `HOST:PORT` in its parts, the brackets of an IPv6 address left out.
fn split(address: &str) -> io::Result<(&str, u16)> {
    let invalid = || invalid(format!("invalid address `{address}`: expected HOST:PORT"));
    let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if host.is_empty() || (bare.is_none() && host.contains([':', '[', ']'])) {
        return Err(invalid());
    }
    Ok((bare.unwrap_or(host), port.parse().map_err(|_| invalid())?))
}

/// Every address of a host: a name, or an IP address without brackets, with its zone.
///
/// # Errors
/// As [`addresses`]'s.
pub fn lookup(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Some(known) = literal(host, port) {
        return Ok(vec![known?]);
    }
    let mut found: Vec<SocketAddr> = Vec::new();
    for address in (host, port).to_socket_addrs()? {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    if found.is_empty() { Err(ErrorKind::AddrNotAvailable.into()) } else { Ok(found) }
}

/// The address that `host` is, where it is no name.
fn literal(host: &str, port: u16) -> Option<io::Result<SocketAddr>> {
    let (ip, zone) = host.split_once('%').map_or((host, None), |(ip, zone)| (ip, Some(zone)));
    if let (Ok(ip), None) = (ip.parse::<IpAddr>(), zone)
        && !is_link_local(ip)
    {
        return Some(Ok(SocketAddr::new(ip, port)));
    }
    let ip: Ipv6Addr = ip.parse().ok()?;
    let Some(zone) = zone else {
        let text = format!("{ip} is link-local: expected its network device, as in {ip}%eth0");
        return Some(Err(invalid(text)));
    };
    let scope = zone.parse().ok().or_else(|| if_nametoindex(zone).ok());
    let scope = scope.ok_or_else(|| invalid(format!("network device `{zone}` not found")));
    Some(scope.map(|scope| SocketAddrV6::new(ip, port, 0, scope).into()))
}

fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

fn invalid(text: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, text)
}

/// The same as [`lookup`]; a resolver that does not answer is left to itself when `control` stops.
///
/// # Errors
/// As [`addresses`]'s; `Interrupted` where it was stopped.
pub fn lookup_until(host: &str, port: u16, control: &Control) -> io::Result<Vec<SocketAddr>> {
    if let Some(known) = literal(host, port) {
        return Ok(vec![known?]);
    }
    let (give, found) = channel();
    let name = host.to_owned();
    thread::Builder::new().name("resolver".to_owned()).spawn(move || {
        // Where it took too long, nobody waits for it.
        let _ = give.send(lookup(&name, port));
    })?;
    loop {
        match found.recv_timeout(STOP_INTERVAL) {
            Ok(found) => return found,
            Err(RecvTimeoutError::Timeout) if !control.stopped() => {}
            Err(_) => return Err(ErrorKind::Interrupted.into()),
        }
    }
}

/// As [`addresses`], until `control` stops.
///
/// # Errors
/// As [`lookup_until`]'s.
pub fn addresses_until(address: &str, control: &Control) -> io::Result<Vec<SocketAddr>> {
    let (host, port) = split(address)?;
    lookup_until(host, port, control)
}

/// What `attempt` gives for the first of `addresses` where it succeeds, and that address. Each
/// attempt gets its part of the time that is left.
///
/// # Errors
/// The attempt's, where there is one address; else what each came to.
pub fn first_of<T>(
    addresses: &[SocketAddr],
    within: Duration,
    mut attempt: impl FnMut(SocketAddr, Duration) -> io::Result<T>,
) -> io::Result<(T, SocketAddr)> {
    let until = Instant::now() + within;
    let mut failed: Vec<(SocketAddr, io::Error)> = Vec::new();
    for (tried, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let part = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match attempt(*address, part.max(Duration::from_millis(1))) {
            Ok(found) => return Ok((found, *address)),
            Err(error) => failed.push((*address, error)),
        }
    }
    let Some((_, last)) = failed.pop() else { return Err(ErrorKind::AddrNotAvailable.into()) };
    if failed.is_empty() {
        return Err(last);
    }
    let kind = last.kind();
    failed.extend(addresses.last().map(|address| (*address, last)));
    let each: Vec<String> = failed.iter().map(|(at, error)| format!("{at}: {error}")).collect();
    Err(io::Error::new(kind, each.join("; ")))
}

/// Connects a socket, which is blocking afterwards.
///
/// # Errors
/// The system's; `TimedOut`; `Interrupted` where `control` stopped.
pub fn connect(
    socket: Socket,
    to: SocketAddr,
    within: Duration,
    control: &Control,
) -> io::Result<Socket> {
    let until = Instant::now() + within;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::from(to)) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
            while !writable(&socket, STOP_INTERVAL.as_nanos() as u64) {
                if control.stopped() {
                    return Err(ErrorKind::Interrupted.into());
                }
                if Instant::now() >= until {
                    return Err(ErrorKind::TimedOut.into());
                }
            }
            socket.take_error()?.map_or(Ok(()), Err)?;
        }
        Err(error) => return Err(error),
    }
    socket.set_nonblocking(false)?;
    Ok(socket)
}

/// A stream socket for an address, not connected yet.
///
/// # Errors
/// The system's.
pub fn stream_to(to: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))
}

/// Listens at `address` (`HOST:PORT`; port 0 is any free one; `[::]` takes IPv4 too) with room for
/// so many connections that are not accepted yet.
///
/// # Errors
/// Where none of its addresses is of this machine, or its port is taken.
pub fn listen(address: &str, backlog: i32) -> Result<TcpListener, Error> {
    let listening = |at| {
        let socket = bound(at)?;
        socket.listen(backlog)?;
        Ok::<_, io::Error>(socket.into())
    };
    at_first(address, listening).map(|(listener, _)| listener)
}

/// A port at `address` that nobody else gets, and that a server which sets SO_REUSEADDR, as all do,
/// may yet listen at, as long as the socket is kept; and where that is.
///
/// # Errors
/// As [`listen`]'s.
pub fn reserve(address: &str) -> Result<(Socket, SocketAddr), Error> {
    let (socket, _) = at_first(address, bound)?;
    let wrong = format!("cannot listen at {address}");
    let at = socket.local_addr().map_err(Error::io(wrong.as_str()))?;
    let at = at.as_socket().ok_or(Error::Plan(wrong))?;
    Ok((socket, at))
}

fn at_first<T>(
    address: &str,
    mut act: impl FnMut(SocketAddr) -> io::Result<T>,
) -> Result<(T, SocketAddr), Error> {
    addresses(address)
        .and_then(|found| first_of(&found, Duration::ZERO, |at, _| act(at)))
        .map_err(Error::io(format!("cannot listen at {address}")))
}

fn bound(at: SocketAddr) -> io::Result<Socket> {
    let socket = stream_to(at)?;
    socket.set_reuse_address(true)?;
    if at.ip().is_unspecified() && at.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&SockAddr::from(at))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_a_port_and_maybe_a_zone() {
        assert_eq!(addresses("127.0.0.1:80").unwrap(), ["127.0.0.1:80".parse().unwrap()]);
        assert_eq!(addresses("[::1]:0").unwrap(), ["[::1]:0".parse().unwrap()]);
        let zoned = addresses("[fe80::1%lo]:80").unwrap();
        assert_eq!(zoned, ["[fe80::1%1]:80".parse().unwrap()]);
        assert_eq!(addresses("[fe80::1%1]:80").unwrap(), zoned);
        for (wrong, said) in [
            ("127.0.0.1", "HOST:PORT"),
            ("::1:80x", "HOST:PORT"),
            ("fe80::1%lo:80", "HOST:PORT"),
            ("h:99999", "HOST:PORT"),
            (":80", "HOST:PORT"),
            ("[::1:80", "HOST:PORT"),
            ("[fe80::1]:80", "fe80::1%eth0"),
            ("[fe80::1%no-such]:80", "network device `no-such` not found"),
        ] {
            let error = addresses(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{wrong}");
            assert!(error.to_string().contains(said), "{wrong}: {error}");
        }
    }

    #[test]
    fn the_first_address_that_answers_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        // The same port of another address of this machine, where nobody listens.
        let closed = SocketAddr::new("127.0.0.2".parse().unwrap(), open.port());
        let control = Control::default();
        let attempt = |at, within| connect(stream_to(at)?, at, within, &control);
        let within = Duration::from_secs(5);
        let (socket, at) = first_of(&[closed, open], within, attempt).unwrap();
        assert_eq!((at, socket.peer_addr().unwrap().as_socket()), (open, Some(open)));
        let error = first_of(&[closed], within, attempt).unwrap_err();
        assert_eq!(error.to_string(), "Connection refused (os error 111)");
        let error = first_of(&[closed, closed], within, attempt).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(error.to_string().starts_with(&format!("{closed}: Connection refused")), "{error}");
    }

    #[test]
    fn waiting_for_a_connection_ends_when_it_is_stopped() {
        // A backlog that is full: the handshake gets no answer.
        let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        full.bind(&SockAddr::from("127.0.0.1:0".parse::<SocketAddr>().unwrap())).unwrap();
        full.listen(0).unwrap();
        let to = full.local_addr().unwrap().as_socket().unwrap();
        let _waiting = std::net::TcpStream::connect(to).unwrap();
        let control = Control::default();
        let begun = Instant::now();
        let short = Duration::from_millis(60);
        let error = connect(stream_to(to).unwrap(), to, short, &control).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        control.stop();
        let error =
            connect(stream_to(to).unwrap(), to, Duration::from_secs(60), &control).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
