//! The socket calls that no library wraps: TCP_INFO whole, SO_RCVLOWAT, and a network device's
//! features; and waiting for a socket.

#![allow(unsafe_code, reason = "getsockopt and ioctl with kernel structures")]

use crate::clock::timespec;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;
use rustix::net::{AddressFamily, SocketType};
use std::ffi::{c_char, c_int, c_ulong};
use std::io;
use std::mem::{offset_of, size_of};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// `struct tcp_info` of include/uapi/linux/tcp.h as of Linux 4.19, which later kernels extend.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Raw {
    state: u8,
    ca_state: u8,
    retransmits: u8,
    probes: u8,
    backoff: u8,
    options: u8,
    wscale: u8,
    app_limited: u8,
    rto: u32,
    ato: u32,
    snd_mss: u32,
    rcv_mss: u32,
    unacked: u32,
    sacked: u32,
    lost: u32,
    retrans: u32,
    fackets: u32,
    last_data_sent: u32,
    last_ack_sent: u32,
    last_data_recv: u32,
    last_ack_recv: u32,
    pmtu: u32,
    rcv_ssthresh: u32,
    rtt: u32,
    rttvar: u32,
    snd_ssthresh: u32,
    snd_cwnd: u32,
    advmss: u32,
    reordering: u32,
    rcv_rtt: u32,
    rcv_space: u32,
    total_retrans: u32,
    pacing_rate: u64,
    max_pacing_rate: u64,
    bytes_acked: u64,
    bytes_received: u64,
    segs_out: u32,
    segs_in: u32,
    notsent_bytes: u32,
    min_rtt: u32,
    data_segs_in: u32,
    data_segs_out: u32,
}

/// What a TCP connection has done so far, from TCP_INFO. The kernel's 32-bit counters wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpInfo {
    /// Payload bytes of a full segment, TCP options taken off.
    pub snd_mss: u32,
    /// Whether both ends agreed on timestamps, which take 12 bytes of each segment.
    pub timestamps: bool,
    /// Segments that are sent and not acknowledged.
    pub unacked: u32,
    /// Bytes that are written and not sent.
    pub notsent_bytes: u32,
    /// Segments sent again.
    pub total_retrans: u32,
    /// Bytes that the peer has acknowledged.
    pub bytes_acked: u64,
    /// All segments sent.
    pub segs_out: u32,
    /// All segments received.
    pub segs_in: u32,
    /// Segments with data received.
    pub data_segs_in: u32,
    /// Segments with data sent, retransmissions included.
    pub data_segs_out: u32,
}

/// TCPI_OPT_TIMESTAMPS.
const TIMESTAMPS: u8 = 1;

/// Reads TCP_INFO.
///
/// # Errors
/// The system's, or `Unsupported` where the kernel (before 4.6) does not count data segments.
pub fn tcp_info(stream: &TcpStream) -> io::Result<TcpInfo> {
    let mut raw = Raw::default();
    let mut length = size_of::<Raw>() as libc::socklen_t;
    // SAFETY: `raw` is a plain C structure of `length` bytes, all of whose bit patterns are
    // valid; the kernel writes at most `length` bytes and the descriptor is open.
    let status = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut raw).cast(),
            &raw mut length,
        )
    };
    checked(status)?;
    if (length as usize) < offset_of!(Raw, data_segs_out) + size_of::<u32>() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(TcpInfo {
        snd_mss: raw.snd_mss,
        timestamps: raw.options & TIMESTAMPS != 0,
        unacked: raw.unacked,
        notsent_bytes: raw.notsent_bytes,
        total_retrans: raw.total_retrans,
        bytes_acked: raw.bytes_acked,
        segs_out: raw.segs_out,
        segs_in: raw.segs_in,
        data_segs_in: raw.data_segs_in,
        data_segs_out: raw.data_segs_out,
    })
}

/// Lets a receiver sleep until so many bytes have come, or its timeout (SO_RCVLOWAT).
///
/// # Errors
/// The system's.
pub fn wake_at(stream: &TcpStream, bytes: c_int) -> io::Result<()> {
    // SAFETY: the option takes a C int, which `bytes` is and whose size is given.
    let status = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const bytes).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    checked(status)
}

/// A feature that include/uapi/linux/ethtool.h has a command of its own for: that which reads
/// it, and the next number sets it.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub enum Command {
    /// ETHTOOL_GRXCSUM.
    RxChecksum = 0x14,
    /// ETHTOOL_GTXCSUM.
    TxChecksum = 0x16,
    /// ETHTOOL_GSG.
    Sg = 0x18,
    /// ETHTOOL_GTSO.
    Tso = 0x1e,
    /// ETHTOOL_GGSO.
    Gso = 0x23,
    /// ETHTOOL_GFLAGS, features that share one number.
    Flags = 0x25,
    /// ETHTOOL_GGRO.
    Gro = 0x2b,
}

/// ETH_FLAG_LRO.
pub const FLAG_LRO: u32 = 1 << 15;

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// What a device says to a command: of a feature 0 or 1.
///
/// # Errors
/// The system's: no such device, or one that does not tell.
pub fn device_feature(device: &str, command: Command) -> io::Result<u32> {
    let mut value = EthtoolValue { command: command as u32, data: 0 };
    ethtool(device, &mut value)?;
    Ok(value.data)
}

/// Sets what a command reads.
///
/// # Errors
/// The system's: no such device, no right to, or a feature that this device cannot change.
pub fn set_device_feature(device: &str, command: Command, data: u32) -> io::Result<()> {
    ethtool(device, &mut EthtoolValue { command: command as u32 + 1, data })
}

fn ethtool(device: &str, value: &mut EthtoolValue) -> io::Result<()> {
    let mut request = request_for(device)?;
    request.ifr_ifru.ifru_data = std::ptr::from_mut(value).cast::<c_char>();
    ask(libc::SIOCETHTOOL, &mut request)
}

/// A device's MTU in bytes.
///
/// # Errors
/// The system's: no such device.
pub fn device_mtu(device: &str) -> io::Result<u32> {
    let mut request = request_for(device)?;
    ask(libc::SIOCGIFMTU, &mut request)?;
    // SAFETY: SIOCGIFMTU has filled this member of the union.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    u32::try_from(mtu).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn request_for(device: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is a plain C structure, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if device.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from as c_char;
    }
    Ok(request)
}

fn ask(command: c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)
        .or_else(|_| rustix::net::socket(AddressFamily::INET6, SocketType::DGRAM, None))?;
    // SAFETY: the command takes an `ifreq`, which `request` is; what its pointer points at, if
    // it has one, is an `EthtoolValue` that outlives the call.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), command as _, request) };
    checked(status)
}

/// What a C library's call came to.
fn checked(status: c_int) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether something can be read within so many nanoseconds.
pub fn readable(fd: &impl AsFd, within: u64) -> bool {
    ready(fd, PollFlags::IN, within)
}

/// Whether something can be written, or a connection is there or failed, within so many
/// nanoseconds.
pub fn writable(fd: &impl AsFd, within: u64) -> bool {
    ready(fd, PollFlags::OUT, within)
}

fn ready(fd: &impl AsFd, what: PollFlags, within: u64) -> bool {
    let mut ready = [PollFd::new(fd, what)];
    poll(&mut ready, Some(&timespec(within))).is_ok_and(|ready| ready > 0)
}
