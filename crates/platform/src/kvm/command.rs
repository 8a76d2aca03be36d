//! What a VMM's command line tells.

use super::threads::Vmm;
use crate::host::text;
use std::collections::BTreeSet;

/// A command line: arguments, each ended by NUL.
#[derive(Debug, Clone, Copy)]
pub(super) struct Command<'a>(pub &'a [u8]);

impl<'a> Command<'a> {
    fn arguments(self) -> impl Iterator<Item = &'a [u8]> {
        self.0.split(|byte| *byte == 0)
    }

    /// The program's name without its path. A program that was started by naming its dynamic
    /// loader (`ld-linux-x86-64.so.2 --library-path … /bin/qemu-system-x86_64`) is QEMU's
    /// where one of the arguments is.
    fn program(self) -> &'a [u8] {
        let first = base(self.arguments().next().unwrap_or_default());
        let loaded = || self.arguments().skip(1).take(8).map(base).find(|name| is_qemu(name));
        if first.starts_with(b"ld-") { loaded().unwrap_or(first) } else { first }
    }

    /// Whether the program is QEMU as a system emulator.
    pub(super) fn is_qemu(self) -> bool {
        is_qemu(self.program())
    }

    /// Whether the program's name says that it uses KVM.
    pub(super) fn is_named_after_kvm(self) -> bool {
        matches!(self.program(), b"qemu-kvm" | b"kvm")
    }

    /// The name that the VM was started with.
    pub(super) fn name(self, vmm: Vmm) -> Option<String> {
        let name = match vmm {
            Vmm::Qemu => return self.qemu_name(),
            Vmm::Firecracker => self.values(&["id"]).last()?,
            Vmm::Crosvm => self.values(&["name"]).last()?,
            Vmm::CloudHypervisor => {
                let socket = self.values(&["api-socket"]).last()?;
                let socket = property(socket, b"path").unwrap_or(first(socket));
                return socket_name(&text(socket));
            }
            Vmm::Other => self.values(&["name"]).last()?,
        };
        Some(text(name)).filter(|name| !name.is_empty())
    }

    /// The absolute paths on the command line, where they stand by themselves or as a value
    /// (`path=/run/x.sock,…`, `unix:/run/x.sock`, JSON).
    pub(super) fn paths(self) -> BTreeSet<String> {
        paths(self.arguments())
    }

    /// Those in arguments that speak of sockets: where a VMM's backends may listen.
    pub(super) fn sockets(self) -> BTreeSet<String> {
        let holds =
            |argument: &[u8], word: &[u8]| argument.windows(word.len()).any(|it| it == word);
        paths(self.arguments().filter(|it| holds(it, b"sock") || holds(it, b"unix")))
    }

    /// Whether that option is given.
    pub(super) fn has(self, option: &str) -> bool {
        self.arguments().any(|argument| is_option(argument, option).is_some())
    }

    /// What the options of these names were given, in their order: `-option VALUE`,
    /// `--option VALUE` or `--option=VALUE`.
    pub(super) fn values(self, options: &[&str]) -> impl Iterator<Item = &'a [u8]> {
        let mut arguments = self.arguments();
        std::iter::from_fn(move || {
            loop {
                let argument = arguments.next()?;
                match options.iter().find_map(|option| is_option(argument, option)) {
                    Some(Some(value)) => return Some(value),
                    Some(None) => return arguments.next(),
                    None => {}
                }
            }
        })
    }
}

/// `Some(None)`: that option; `Some(Some(VALUE))`: with its value after `=`.
fn is_option<'a>(argument: &'a [u8], option: &str) -> Option<Option<&'a [u8]>> {
    let name = argument.strip_prefix(b"-")?;
    let rest = name.strip_prefix(b"-").unwrap_or(name).strip_prefix(option.as_bytes())?;
    if rest.is_empty() { Some(None) } else { rest.strip_prefix(b"=").map(Some) }
}

fn paths<'a>(arguments: impl Iterator<Item = &'a [u8]>) -> BTreeSet<String> {
    let separates = |byte: &u8| matches!(byte, b',' | b'=' | b':' | b'"');
    let values = arguments.flat_map(|argument| argument.split(separates));
    values.filter(|value| value.starts_with(b"/")).map(text).collect()
}

/// A path's last component.
fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

fn is_qemu(program: &[u8]) -> bool {
    program.starts_with(b"qemu-system-") || matches!(program, b"qemu-kvm" | b"kvm")
}

/// The part of an option's value before the first comma.
pub(super) fn first(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == b',').next().unwrap_or_default()
}

/// The value of `key=` in a list with commas.
pub(super) fn property<'a>(value: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let mut parts = value.split(|byte| *byte == b',');
    parts.find_map(|part| part.strip_prefix(key)?.strip_prefix(b"="))
}

/// A VM's name from its API socket's path: `web.sock` is `web`; where the file's name is the
/// same for all VMs, its folder's (`/run/vc/vm/ID/clh-api.sock`).
fn socket_name(path: &str) -> Option<String> {
    let mut parts = path.rsplit('/');
    let file = parts.next()?;
    let stem = file.split('.').next().filter(|stem| !stem.is_empty())?;
    let common = ["api", "clh-api", "ch", "ch-api", "cloud-hypervisor", "chv", "socket", "vmm"];
    let folder = parts.next().filter(|folder| common.contains(&stem) && !folder.is_empty());
    Some(folder.unwrap_or(stem).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    fn command(line: &str) -> Vec<u8> {
        line.replace(' ', "\0").into_bytes()
    }

    #[test]
    fn names_are_found_in_every_vmms_way() {
        let name = |vmm, line: &str| Command(&command(line)).name(vmm);
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(name(Vmm::Qemu, "kvm -name guest=web,debug-threads=on"), is("web"));
        assert_eq!(name(Vmm::Firecracker, "firecracker --id fc1 --api-sock s"), is("fc1"));
        assert_eq!(name(Vmm::Firecracker, "firecracker --id=fc2"), is("fc2"));
        assert_eq!(name(Vmm::Crosvm, "crosvm run --name arc"), is("arc"));
        let line = "cloud-hypervisor --api-socket path=/run/vc/vm/3fa/clh-api.sock";
        assert_eq!(name(Vmm::CloudHypervisor, line), is("3fa"));
        let line = "cloud-hypervisor --api-socket /tmp/db.sock";
        assert_eq!(name(Vmm::CloudHypervisor, line), is("db"));
    }

    #[test]
    fn paths_stand_in_many_ways() {
        let line = "/usr/bin/q -chardev socket,id=c,path=/run/fs.sock -drive file=/img \
                    -netdev {\"addr\":{\"type\":\"unix\",\"path\":\"/run/passt.socket\"}} \
                    -object x,addr=unix:/run/y";
        let command = command(line);
        let sockets = Command(&command).sockets();
        assert_eq!(Vec::from_iter(sockets), ["/run/fs.sock", "/run/passt.socket", "/run/y"]);
        assert!(Command(&command).paths().contains("/img"));
    }

    #[test]
    fn qemu_is_known_by_its_program() {
        assert!(Command(&command("/usr/bin/qemu-system-x86_64 -S")).is_qemu());
        assert!(!Command(&command("/usr/bin/qemu-img info")).is_qemu());
        let loaded = "/lib/ld-linux.so.2 --library-path /x /x/qemu-system-x86_64 -S";
        assert!(Command(&command(loaded)).is_qemu());
    }

    #[test]
    fn hostile_input() {
        let sample = command(
            "/usr/bin/qemu-system-x86_64 -name guest=a,,b -smp 2,cores=1 -object \
             iothread,id=x -accel kvm --api-socket=path=/a/b.sock --id 7",
        );
        survives(&sample, |bytes| {
            let command = Command(bytes);
            for vmm in [Vmm::Qemu, Vmm::Firecracker, Vmm::CloudHypervisor, Vmm::Crosvm, Vmm::Other]
            {
                let _ = command.name(vmm);
            }
            let _ = (command.is_qemu(), command.paths(), command.sockets());
        });
    }
}
