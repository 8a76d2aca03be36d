//! What QEMU's command line says. Options of one kind that are given several times merge: what
//! comes later counts (qemu-options.hx; `merge_lists` in QEMU's source).

use super::command::{Command, first, property};
use crate::host::{parse_number, text};
use model::Platform;

/// The parts of `-smp` whose product is the number of vCPUs where it is not stated.
const TOPOLOGY: [&[u8]; 8] =
    [b"drawers", b"books", b"sockets", b"dies", b"clusters", b"modules", b"cores", b"threads"];

impl Command<'_> {
    /// Whether it was started to answer a question, not to run a guest: libvirt's and other
    /// managers' probes have a machine without CPUs, `-machine none`.
    pub(super) fn is_probe(self) -> bool {
        let questions = ["version", "h", "help"].iter().any(|option| self.has(option));
        let asks = |value: &[u8]| matches!(value, b"help" | b"?");
        let lists = ["accel", "cpu", "device"]
            .iter()
            .any(|option| self.values(&[option]).any(|value| asks(first(value))));
        let machine = merged(self.values(&["machine", "M"]), Some(b"type"), b"type");
        questions || lists || machine.is_some_and(|kind| kind == b"none" || asks(&kind))
    }

    /// What runs the vCPUs, as far as the command line says it. `kvm`: whether the process
    /// holds a VM of KVM, where its files could be read. `None` where a file of settings that
    /// cannot be read may say it.
    pub(super) fn accelerator(self, kvm: Option<bool>) -> Option<Platform> {
        if kvm == Some(true) {
            return Some(Platform::Kvm);
        }
        // QEMU takes the first one that works. One that just starts may not yet hold its VM.
        let named = self.accelerators();
        let without_kvm = named.iter().find(|name| *name != b"kvm");
        let taken = if kvm == Some(false) { without_kvm.or(named.first()) } else { named.first() };
        match taken.map(Vec::as_slice) {
            Some(b"kvm") => Some(Platform::Kvm),
            Some(b"tcg") => Some(Platform::Tcg),
            Some(_) => Some(Platform::Other),
            // Only hardware can be the host's CPU.
            None if kvm.is_none() && self.has_host_cpu() => Some(Platform::Kvm),
            None if kvm.is_none() && self.has("readconfig") => None,
            None => Some(Platform::Tcg),
        }
    }

    /// The accelerators by preference: `-accel kvm -accel tcg`, `-machine accel=kvm:tcg`,
    /// `-enable-kvm`, and of a program named after KVM.
    fn accelerators(self) -> Vec<Vec<u8>> {
        let options = self.values(&["accel"]);
        let mut named: Vec<Vec<u8>> = options
            .map(|value| property(value, b"accel").unwrap_or(first(value)).to_vec())
            .collect();
        if named.is_empty() {
            let list = merged(self.values(&["machine", "M"]), Some(b"type"), b"accel");
            let list = list.unwrap_or_default();
            named = list.split(|byte| *byte == b':').map(<[u8]>::to_vec).collect();
            named.retain(|name| !name.is_empty());
        }
        if named.is_empty() && (self.has("enable-kvm") || self.is_named_after_kvm()) {
            named.push(b"kvm".to_vec());
        }
        named
    }

    fn has_host_cpu(self) -> bool {
        self.values(&["cpu"]).any(|value| first(value) == b"host")
    }

    /// Whether a vCPU of KVM that halts sleeps in QEMU itself, as one that is stopped does.
    pub(super) fn halts_in_qemu(self) -> bool {
        let irqchip = merged(self.values(&["machine", "M"]), Some(b"type"), b"kernel-irqchip");
        let irqchip =
            irqchip.or(merged(self.values(&["accel"]), Some(b"accel"), b"kernel-irqchip"));
        irqchip.is_some_and(|value| value == b"off")
    }

    /// `-name guest=NAME,…` or `-name NAME,…`; a comma in the name is doubled.
    pub(super) fn qemu_name(self) -> Option<String> {
        let name = merged(self.values(&["name"]), Some(b"guest"), b"guest")?;
        Some(text(&name)).filter(|name| !name.is_empty())
    }

    /// The number of vCPUs at the start: `-smp N`, `-smp cpus=N`, else `maxcpus` or the product
    /// of the topology's parts; all of them may be the machine's (`-machine q35,smp.cpus=N`).
    /// `None` where it is malformed, or may be in a file of settings.
    pub(super) fn vcpus(self) -> Option<u32> {
        let given = |key: &[u8]| {
            let of_machine = [b"smp.", key].concat();
            merged(self.values(&["smp"]), Some(b"cpus"), key)
                .or_else(|| merged(self.values(&["machine", "M"]), Some(b"type"), &of_machine))
        };
        let stated = given(b"cpus").or_else(|| given(b"maxcpus"));
        if let Some(stated) = stated {
            return u32::try_from(parse_number(&stated)?).ok();
        }
        let parts: Vec<Vec<u8>> = TOPOLOGY.iter().filter_map(|key| given(key)).collect();
        if parts.is_empty() && self.has("readconfig") {
            return None;
        }
        let product = |product: u64, part: &Vec<u8>| product.checked_mul(parse_number(part)?);
        u32::try_from(parts.iter().try_fold(1, product)?).ok()
    }

    /// How many `-object iothread` QEMU was given.
    pub(super) fn iothreads(self) -> usize {
        let objects = self.values(&["object"]);
        let plain = |value: &[u8]| first(value) == b"iothread";
        objects.filter(|value| plain(value) || is_json_iothread(value)).count()
    }
}

/// The last value of `key` in lists `key=value,…` that merge. `implied` is the key of a first
/// part without one. Doubled commas stand for commas.
fn merged<'a>(
    lists: impl Iterator<Item = &'a [u8]>,
    implied: Option<&[u8]>,
    key: &[u8],
) -> Option<Vec<u8>> {
    let mut last = None;
    for list in lists {
        for (at, part) in parts(list).into_iter().enumerate() {
            let equals = part.iter().position(|byte| *byte == b'=');
            let value = match equals.and_then(|at| part.split_at_checked(at)) {
                Some((name, value)) if name == key => value.get(1..).map(<[u8]>::to_vec),
                None if at == 0 && implied == Some(key) => Some(part),
                _ => None,
            };
            last = value.or(last);
        }
    }
    last
}

/// The parts between commas, a doubled comma being one of the part.
fn parts(list: &[u8]) -> Vec<Vec<u8>> {
    let (mut parts, mut part) = (Vec::new(), Vec::new());
    let mut rest = list;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b',' {
            part.push(byte);
        } else if let Some(after) = rest.strip_prefix(b",") {
            part.push(b',');
            rest = after;
        } else {
            parts.push(std::mem::take(&mut part));
        }
    }
    parts.push(part);
    parts
}

/// libvirt writes objects as JSON: `{"qom-type":"iothread","id":"iothread1"}`.
fn is_json_iothread(value: &[u8]) -> bool {
    let wanted = b"\"qom-type\":\"iothread\"";
    value.windows(wanted.len()).any(|part| part == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    fn command(line: &str) -> Vec<u8> {
        line.replace(' ', "\0").into_bytes()
    }

    #[test]
    fn options_given_twice_merge() {
        let name = |line: &str| Command(&command(line)).qemu_name();
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(name("kvm -name guest=web,debug-threads=on"), is("web"));
        assert_eq!(name("kvm -name web -name debug-threads=on"), is("web"));
        assert_eq!(name("kvm -name debug-threads=on -name web"), is("web"));
        assert_eq!(name("kvm -name a -name guest=b"), is("b"));
        assert_eq!(name("kvm -m 1 -name web,,1,process=x"), is("web,1"));
        assert_eq!(name("kvm -name guest=a,,guest=b"), is("a,guest=b"));
        assert_eq!(name("kvm -name debug-threads=on"), None);
        assert_eq!(name("kvm -name"), None);
        let vcpus = |line: &str| Command(&command(line)).vcpus();
        assert_eq!(vcpus("q -smp 4 -smp maxcpus=8"), Some(4));
        assert_eq!(vcpus("q -smp 4 -smp cpus=2"), Some(2));
    }

    #[test]
    fn the_number_of_vcpus() {
        let vcpus = |line: &str| Command(&command(line)).vcpus();
        assert_eq!(vcpus("qemu-system-x86_64"), Some(1));
        assert_eq!(vcpus("q -smp 4,maxcpus=8"), Some(4));
        assert_eq!(vcpus("q -smp maxcpus=8"), Some(8));
        assert_eq!(vcpus("q -smp sockets=2,cores=3"), Some(6));
        assert_eq!(vcpus("q -machine q35,smp.cpus=3"), Some(3));
        assert_eq!(vcpus("q -smp cpus=x"), None);
        assert_eq!(vcpus("q -readconfig f"), None, "it may be in that file");
        assert_eq!(vcpus("q -readconfig f -smp 2"), Some(2));
    }

    #[test]
    fn the_accelerator_is_never_a_guess() {
        let accelerator = |kvm, line: &str| Command(&command(line)).accelerator(kvm);
        let unseen = |line: &str| accelerator(None, line);
        assert_eq!(unseen("q -accel kvm"), Some(Platform::Kvm));
        assert_eq!(unseen("q -machine q35,accel=kvm:tcg"), Some(Platform::Kvm));
        assert_eq!(unseen("q -machine q35 -machine accel=kvm"), Some(Platform::Kvm));
        assert_eq!(unseen("q -accel tcg,thread=single"), Some(Platform::Tcg));
        assert_eq!(unseen("q -enable-kvm"), Some(Platform::Kvm));
        assert_eq!(unseen("q -m 1"), Some(Platform::Tcg));
        assert_eq!(unseen("q -accel mshv"), Some(Platform::Other));
        assert_eq!(
            unseen("q -S -name v1 -cpu host,hv_passthrough -readconfig f"),
            Some(Platform::Kvm)
        );
        assert_eq!(unseen("q -S -name v1 -readconfig f"), None);
        assert_eq!(unseen("/usr/bin/qemu-kvm -m 1"), Some(Platform::Kvm));
        // Without a VM of KVM in its hands QEMU has fallen back on emulation.
        assert_eq!(accelerator(Some(false), "q -accel kvm -accel tcg"), Some(Platform::Tcg));
        assert_eq!(accelerator(Some(false), "q -M accel=kvm:tcg"), Some(Platform::Tcg));
        assert_eq!(accelerator(Some(false), "q -readconfig f"), Some(Platform::Tcg));
        assert_eq!(accelerator(Some(true), "q -readconfig f"), Some(Platform::Kvm));
    }

    #[test]
    fn probes_run_no_guest() {
        let probe = |line: &str| Command(&command(line)).is_probe();
        let libvirt = "qemu-system-x86_64 -S -no-user-config -nodefaults -nographic -machine \
                       none,accel=kvm:tcg -qmp unix:/var/lib/libvirt/qemu/qmp-X/qmp.monitor,\
                       server=on,wait=off -pidfile p -daemonize";
        for line in
            [libvirt, "q -M none", "q -machine type=none", "q -machine none -machine accel=tcg"]
        {
            assert!(probe(line), "{line}");
        }
        for line in ["q -M help", "q -cpu help", "q --version", "q -device virtio-blk -device ?"] {
            assert!(probe(line), "{line}");
        }
        for line in ["q -S", "q -M none -M q35", "q -name none", "q -cpu host -device help,x=1x"] {
            assert_eq!(probe(line), line.contains("help"), "{line}");
        }
    }

    #[test]
    fn objects_and_the_interrupt_controller() {
        let objects = "q -object iothread,id=a -object {\"qom-type\":\"iothread\",\"id\":\"b\"} \
                       -object rng-random,id=r";
        assert_eq!(Command(&command(objects)).iothreads(), 2);
        assert!(Command(&command("q -M pc,kernel-irqchip=off")).halts_in_qemu());
        assert!(Command(&command("q -accel kvm,kernel-irqchip=off")).halts_in_qemu());
        assert!(!Command(&command("q -M pc,kernel-irqchip=split")).halts_in_qemu());
    }

    #[test]
    fn hostile_input() {
        let sample = command(
            "/usr/bin/qemu-system-x86_64 -name guest=a,,b -smp 2,cores=1 -object \
             iothread,id=x -accel kvm -machine q35,accel=kvm:tcg,smp.cpus=3 -M none",
        );
        survives(&sample, |bytes| {
            let command = Command(bytes);
            let _ = (command.vcpus(), command.iothreads(), command.accelerator(None));
            let _ = (command.is_probe(), command.qemu_name(), command.halts_in_qemu());
        });
    }
}
