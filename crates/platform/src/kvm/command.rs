//! What a VMM's command line tells.

use super::threads::Vmm;
use crate::host::{parse_number, text};
use model::Platform;

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

    /// How QEMU runs the vCPUs: KVM where it was asked for, by any of the ways to ask, else by
    /// emulation, its default.
    pub(super) fn accelerator(self) -> Platform {
        let named = matches!(self.program(), b"qemu-kvm" | b"kvm");
        let asked = named
            || self.has("enable-kvm")
            || self.values("accel").any(|value| first(value) == b"kvm")
            || self.values("machine").chain(self.values("M")).any(|value| {
                property(value, b"accel").is_some_and(|accel| accel.starts_with(b"kvm"))
            });
        if asked { Platform::Kvm } else { Platform::Tcg }
    }

    /// The name that the VM was started with.
    pub(super) fn name(self, vmm: Vmm) -> Option<String> {
        let name = match vmm {
            Vmm::Qemu => return self.qemu_name(),
            Vmm::Firecracker => self.values("id").last()?,
            Vmm::Crosvm => self.values("name").last()?,
            Vmm::CloudHypervisor => {
                let socket = self.values("api-socket").last()?;
                let socket = property(socket, b"path").unwrap_or(first(socket));
                return socket_name(&text(socket));
            }
            Vmm::Other => self.values("name").last()?,
        };
        Some(text(name)).filter(|name| !name.is_empty())
    }

    /// `-name guest=NAME,…` or `-name NAME,…`; a comma in the name is doubled.
    fn qemu_name(self) -> Option<String> {
        let value = self.values("name").last()?;
        let all = text(value).replace(",,", "\u{0}");
        let mut parts = all.split(',');
        let named = all.split(',').find_map(|part| part.strip_prefix("guest="));
        let name = named.or_else(|| parts.next().filter(|part| !part.contains('=')))?;
        Some(name.replace('\u{0}', ",")).filter(|name| !name.is_empty())
    }

    /// QEMU's number of vCPUs at the start: `-smp N`, `-smp cpus=N`, or the product of the
    /// topology's parts.
    pub(super) fn vcpus(self) -> Option<u32> {
        let Some(value) = self.values("smp").last() else { return Some(1) };
        let count = |key: &[u8]| property(value, key).map(parse_number);
        if let Some(stated) = parse_number(first(value)).map(Some).or(count(b"cpus")) {
            return u32::try_from(stated?).ok();
        }
        let product = || {
            [&b"sockets"[..], b"dies", b"clusters", b"cores", b"threads"]
                .into_iter()
                .map(|key| count(key).unwrap_or(Some(1)))
                .try_fold(1_u64, |product, part| product.checked_mul(part?))
        };
        u32::try_from(product()?).ok()
    }

    /// How many `-object iothread` QEMU was given.
    pub(super) fn iothreads(self) -> usize {
        let objects = self.values("object");
        let plain = |value: &[u8]| first(value) == b"iothread";
        objects.filter(|value| plain(value) || is_json_iothread(value)).count()
    }

    fn has(self, option: &str) -> bool {
        self.arguments().any(|argument| is_option(argument, option).is_some())
    }

    /// What an option was given: `-option VALUE`, `--option VALUE` or `--option=VALUE`.
    fn values(self, option: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let mut arguments = self.arguments();
        std::iter::from_fn(move || {
            loop {
                match is_option(arguments.next()?, option) {
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

/// libvirt writes objects as JSON: `{"qom-type":"iothread","id":"iothread1"}`.
fn is_json_iothread(value: &[u8]) -> bool {
    let wanted = b"\"qom-type\":\"iothread\"";
    value.windows(wanted.len()).any(|part| part == wanted)
}

/// A path's last component.
fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

fn is_qemu(program: &[u8]) -> bool {
    program.starts_with(b"qemu-system-") || matches!(program, b"qemu-kvm" | b"kvm")
}

/// The part of an option's value before the first comma.
fn first(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == b',').next().unwrap_or_default()
}

/// The value of `key=` in a list with commas.
fn property<'a>(value: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
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
    use crate::host::testing::survives;

    fn command(line: &str) -> Vec<u8> {
        line.replace(' ', "\0").into_bytes()
    }

    #[test]
    fn names_are_found_in_every_vmms_way() {
        let name = |vmm, line: &str| Command(&command(line)).name(vmm);
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(name(Vmm::Qemu, "kvm -name guest=web,debug-threads=on"), is("web"));
        assert_eq!(name(Vmm::Qemu, "kvm -m 1 -name web,,1,process=x"), is("web,1"));
        assert_eq!(name(Vmm::Qemu, "kvm -name debug-threads=on"), None);
        assert_eq!(name(Vmm::Qemu, "kvm -name"), None);
        assert_eq!(name(Vmm::Firecracker, "firecracker --id fc1 --api-sock s"), is("fc1"));
        assert_eq!(name(Vmm::Firecracker, "firecracker --id=fc2"), is("fc2"));
        assert_eq!(name(Vmm::Crosvm, "crosvm run --name arc"), is("arc"));
        let line = "cloud-hypervisor --api-socket path=/run/vc/vm/3fa/clh-api.sock";
        assert_eq!(name(Vmm::CloudHypervisor, line), is("3fa"));
        let line = "cloud-hypervisor --api-socket /tmp/db.sock";
        assert_eq!(name(Vmm::CloudHypervisor, line), is("db"));
    }

    #[test]
    fn qemus_vcpus_and_accelerator() {
        let vcpus = |line: &str| Command(&command(line)).vcpus();
        assert_eq!(vcpus("qemu-system-x86_64"), Some(1));
        assert_eq!(vcpus("qemu-system-x86_64 -smp 4,maxcpus=8"), Some(4));
        assert_eq!(vcpus("qemu-system-x86_64 -smp sockets=2,cores=3"), Some(6));
        assert_eq!(vcpus("qemu-system-x86_64 -smp cpus=x"), None);
        let accelerator = |line: &str| Command(&command(line)).accelerator();
        assert_eq!(accelerator("q -accel kvm"), Platform::Kvm);
        assert_eq!(accelerator("q -machine q35,accel=kvm:tcg"), Platform::Kvm);
        assert_eq!(accelerator("q -accel tcg,thread=single"), Platform::Tcg);
        assert_eq!(accelerator("q -enable-kvm"), Platform::Kvm);
        assert!(Command(&command("/usr/bin/qemu-system-x86_64 -S")).is_qemu());
        assert!(!Command(&command("/usr/bin/qemu-img info")).is_qemu());
        let loaded = "/lib/ld-linux.so.2 --library-path /x /x/qemu-system-x86_64 -S";
        assert!(Command(&command(loaded)).is_qemu());
        let objects = "q -object iothread,id=a -object {\"qom-type\":\"iothread\",\"id\":\"b\"} \
                       -object rng-random,id=r";
        assert_eq!(Command(&command(objects)).iothreads(), 2);
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
            let _ = (command.vcpus(), command.iothreads(), command.accelerator());
        });
    }
}
