//! A record of Xen's answers, so that a real system can be read again elsewhere.
//!
//! The files, below the `xen` folder of a saved tree:
//! - `interface`: the versions that this Xen speaks, as lines `sysctl 0x15` and `domctl 0x17`;
//! - `NAME.bin` (`physinfo`, `getcpuinfo`, `getdomaininfolist`) and `NAME-DOMAIN-VCPU.bin`
//!   (`getvcpuinfo`, `getvcpuaffinity`): the operation's own structure as Xen returned it
//!   (its length is [`Call::head_len`], pointers in it zeroed), then what Xen wrote into the
//!   buffer. The pages of a long domain list are joined;
//! - `xenstore`: lines of `path = value`, see [`super::store`].

use super::abi::{self, Interface, Malformed};
use super::hypercall::{Answer, Call, CallError, Hypervisor};
use crate::host::Tree;
use model::{u16_at, u32_at};
use std::io;
use std::path::Path;

/// The folder of a saved tree that holds the record.
pub(crate) const FOLDER: &str = "/xen";
/// The file with the interface versions.
const INTERFACE: &str = "interface";

/// Answers from files.
#[derive(Debug)]
pub(crate) struct Transcript {
    tree: Tree,
    /// What the recorded Xen speaks, and what it is asked in.
    speaks: Interface,
    asked: Interface,
    file: Vec<u8>,
    page: Vec<u8>,
    /// Bytes of a page of the domain list: small in tests, to have several.
    room: usize,
}

impl Transcript {
    /// Opens the record of a saved tree.
    ///
    /// # Errors
    /// Where its `interface` file cannot be read or understood.
    pub(crate) fn open(tree: &Tree) -> io::Result<Self> {
        let text = tree.read_text(&format!("{FOLDER}/{INTERFACE}"))?;
        let speaks = parse_interface(&text).ok_or(io::ErrorKind::InvalidData)?;
        let (file, page) = (Vec::new(), Vec::new());
        Ok(Self { tree: tree.clone(), speaks, asked: speaks, file, page, room: usize::MAX })
    }

    #[cfg(test)]
    pub(crate) fn with_room(mut self, room: usize) -> Self {
        self.room = room;
        self
    }

    /// Loads the file that answers the call; gives where its buffer part starts.
    fn load(&mut self, call: Call) -> Result<usize, CallError> {
        let path = format!("{FOLDER}/{}", file_name(call));
        let read = self.tree.read(&path, &mut self.file).map(<[u8]>::len);
        read.map_err(|error| match (error.kind(), call.is_domctl()) {
            (io::ErrorKind::NotFound, true) => CallError::Gone(call.name()),
            (io::ErrorKind::NotFound, false) => CallError::NotRecorded(call.name()),
            _ => CallError::Refused { name: call.name(), error },
        })?;
        let head = call.head_len();
        if self.file.len() < head { Err(Malformed(call.name()).into()) } else { Ok(head) }
    }

    /// The stride that the file's length and count tell.
    fn stride(&self, head: usize) -> Result<usize, CallError> {
        let count = u32_at(&self.file, 16).unwrap_or_default() as usize;
        let length = self.file.len() - head;
        match length.checked_div(count) {
            Some(stride) if stride > 0 && length.is_multiple_of(count) => Ok(stride),
            _ => Err(Malformed("getdomaininfolist").into()),
        }
    }

    /// Cuts the page that starts at domain `first` out of the list.
    fn turn_to(&mut self, first: u16, head: usize) -> Result<(), CallError> {
        let stride = self.stride(head)?;
        let most = self.room / stride;
        let list = self.file[head..].chunks_exact(stride);
        let wanted = list.filter(|entry| u16_at(entry, 0).is_some_and(|id| id >= first));
        self.page.clear();
        self.page.extend_from_slice(&self.file[..head]);
        self.page.extend(wanted.take(most).flatten());
        let count = u32::try_from((self.page.len() - head) / stride).unwrap_or(u32::MAX);
        self.page[16..20].copy_from_slice(&count.to_le_bytes());
        Ok(())
    }
}

impl Hypervisor for Transcript {
    fn ask(&mut self, call: Call) -> Result<Answer<'_>, CallError> {
        let (asked, speaks) = if call.is_domctl() {
            (self.asked.domctl, self.speaks.domctl)
        } else {
            (self.asked.sysctl, self.speaks.sysctl)
        };
        if call != Call::Clock && asked != speaks {
            return Err(CallError::OtherVersion(call.name()));
        }
        let head = self.load(call)?;
        let bytes = match call {
            Call::Domains { first } => {
                self.turn_to(first, head)?;
                &self.page
            }
            _ => &self.file,
        };
        let (head, data) = bytes.split_at(head);
        Ok(Answer { head, data })
    }

    fn speak(&mut self, interface: Interface, _stride: usize) {
        self.asked = interface;
    }

    fn move_to(&mut self, tree: &Tree) {
        self.tree = tree.clone();
    }

    fn measure_stride(&mut self) -> Result<usize, CallError> {
        let head = self.load(Call::Domains { first: 0 })?;
        self.stride(head)
    }
}

/// The file that holds the answer to a call.
fn file_name(call: Call) -> String {
    match call {
        Call::Vcpu { domain, vcpu } | Call::Affinity { domain, vcpu } => {
            format!("{}-{domain}-{vcpu}.bin", call.name())
        }
        _ => format!("{}.bin", call.name()),
    }
}

fn parse_interface(text: &str) -> Option<Interface> {
    let version = |name: &str| {
        let word = text.lines().find_map(|line| line.strip_prefix(name))?.trim();
        u32::from_str_radix(word.strip_prefix("0x")?, 16).ok()
    };
    Some(Interface { sysctl: version("sysctl ")?, domctl: version("domctl ")? })
}

/// Writes answers into a folder in the form that [`Transcript`] reads.
pub(crate) struct Recorder<'a> {
    pub(crate) folder: &'a Path,
}

impl Recorder<'_> {
    /// The versions that the recorded Xen speaks.
    pub(crate) fn interface(&self, interface: Interface) -> io::Result<()> {
        let Interface { sysctl, domctl } = interface;
        let text = format!("sysctl {sysctl:#x}\ndomctl {domctl:#x}\n");
        std::fs::write(self.folder.join(INTERFACE), text)
    }

    /// One answer; `length` is how much of the buffer Xen wrote.
    pub(crate) fn answer(&self, call: Call, answer: Answer<'_>, length: usize) -> io::Result<()> {
        let mut bytes = answer.head.to_vec();
        // Addresses of this process say nothing and would differ from run to run.
        let pointers: &[usize] = match call {
            Call::Idle | Call::Domains { .. } => &[8],
            Call::Affinity { .. } | Call::SetAffinity { .. } => &[8, 24],
            Call::Physical | Call::Clock | Call::Vcpu { .. } => &[],
        };
        for at in pointers {
            bytes[*at..at + 8].fill(0);
        }
        bytes.extend_from_slice(answer.data.get(..length).unwrap_or(answer.data));
        std::fs::write(self.folder.join(file_name(call)), bytes)
    }
}

/// Asks everything that a snapshot needs and writes the answers into `folder`.
pub(crate) fn record(
    xen: &mut dyn Hypervisor,
    interface: Interface,
    stride: usize,
    folder: &Path,
) -> Result<Vec<abi::DomainInfo>, CallError> {
    let recorder = Recorder { folder };
    let failed = |error| CallError::Refused { name: "writing the record", error };
    let clock = xen.ask(Call::Clock)?;
    recorder.answer(Call::Clock, clock, 0).map_err(failed)?;
    // The two that have to be close together come first.
    let idle = xen.ask(Call::Idle)?;
    let listed = u32_at(idle.head, 16).unwrap_or_default() as usize;
    recorder.answer(Call::Idle, idle, listed.saturating_mul(8)).map_err(failed)?;
    let domains = record_list(xen, stride, &recorder)?;
    recorder.interface(interface).map_err(failed)?;
    let physical = xen.ask(Call::Physical)?;
    let cpus = abi::Physical::decode(physical.head, interface.sysctl)?;
    recorder.answer(Call::Physical, physical, 0).map_err(failed)?;
    for domain in &domains {
        for vcpu in 0..domain.vcpus().min(abi::MOST_VCPUS) {
            let bitmap = cpus.max_cpu as usize / 8 + 1;
            for (call, length) in [
                (Call::Vcpu { domain: domain.id, vcpu }, 0),
                (Call::Affinity { domain: domain.id, vcpu }, bitmap),
            ] {
                match xen.ask(call) {
                    Ok(answer) => recorder.answer(call, answer, length).map_err(failed)?,
                    Err(CallError::Gone(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(domains)
}

/// Records the domain list, its pages joined.
fn record_list(
    xen: &mut dyn Hypervisor,
    stride: usize,
    recorder: &Recorder<'_>,
) -> Result<Vec<abi::DomainInfo>, CallError> {
    let (mut domains, mut list) = (Vec::new(), Vec::new());
    let mut head = vec![0; Call::Domains { first: 0 }.head_len()];
    loop {
        let first = domains.last().map_or(0, |last: &abi::DomainInfo| last.id + 1);
        let answer = xen.ask(Call::Domains { first })?;
        let count = abi::domains(answer.head, answer.data, stride, &mut domains)?;
        list.extend_from_slice(&answer.data[..count * stride]);
        if count == 0 || count < answer.data.len() / stride {
            break;
        }
    }
    let count = u32::try_from(domains.len()).unwrap_or(u32::MAX);
    head[16..20].copy_from_slice(&count.to_le_bytes());
    let joined = Answer { head: &head, data: &list };
    recorder
        .answer(Call::Domains { first: 0 }, joined, list.len())
        .map_err(|error| CallError::Refused { name: "writing the record", error })?;
    Ok(domains)
}
