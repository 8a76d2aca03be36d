//! The QEMU that runs the machine: taken from a suite's packages and run through that suite's own
//! loader and libraries, so that the lab is the same on every host.

use files::failed;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::error::LabError;
use crate::monitor::{READ_STATE, STATE_VARIABLE};
use crate::spec::{Accel, Clock, Kind, Role, Spec};
use crate::tree::Tree;

/// The packages that bring QEMU.
pub(crate) const PACKAGES: [&str; 2] = ["qemu-system-x86", "seabios"];
/// QEMU's program.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";
/// QEMU's emulation of x86-64, where it is a module of its own.
const TCG_MODULE: &str = "accel-tcg-x86_64.so";

/// The suite whose QEMU runs a machine. Under the instruction clock QEMU 10 aborts as Xen starts,
/// and 7.2 does not get on with Linux on several CPUs.
pub(crate) fn suite(kind: Kind, clock: Clock) -> &'static str {
    match (kind, clock) {
        (Kind::Xen, Clock::Instructions) => "bookworm",
        _ => "trixie",
    }
}

/// Whether a package's file is firmware that QEMU loads for these machines.
pub(crate) fn is_firmware(name: &str) -> bool {
    let place = ["usr/share/qemu/", "usr/share/seabios/"];
    let Some(file) = place.iter().find_map(|place| name.strip_prefix(place)) else { return false };
    ["bios", "linuxboot", "multiboot", "kvmvapic", "pvh"].iter().any(|stem| file.starts_with(stem))
        && file.ends_with(".bin")
}

/// Copies QEMU, its libraries and its firmware into `directory`.
pub(crate) fn build(tree: &Tree, directory: &Path) -> Result<(), LabError> {
    let program = tree.program(PROGRAM)?;
    let module = tree.one("usr/lib/", TCG_MODULE).ok().map(|(_, path)| path);
    copy(program, &directory.join("bin").join(PROGRAM))?;
    if let Some(module) = module {
        copy(module, &directory.join("modules").join(TCG_MODULE))?;
    }
    let programs: Vec<&Path> = [program].into_iter().chain(module).collect();
    for (name, path) in tree.libraries(&programs)? {
        copy(path, &directory.join("lib").join(name))?;
    }
    for (name, path) in tree.files().filter(|(name, _)| is_firmware(name)) {
        if let Some(file) = name.rsplit('/').next() {
            copy(path, &directory.join("share").join(file))?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), LabError> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(failed("make the directory", parent))?;
    }
    Ok(fs::copy(from, to).map(|_| ()).map_err(failed("copy", from))?)
}

/// The files of one boot.
pub(crate) struct Boot<'a> {
    /// QEMU's cache entry.
    pub(crate) emulator: &'a Path,
    /// The machine image's cache entry.
    pub(crate) image: &'a Path,
    /// The whole first root file system.
    pub(crate) initrd: &'a Path,
    /// Where the second serial port listens.
    pub(crate) shell: &'a Path,
    /// Where the monitor listens.
    pub(crate) monitor: &'a Path,
    /// Where the machine's state is written to, when that is wanted.
    pub(crate) outgoing: &'a Path,
    /// The state of a machine that is restored.
    pub(crate) incoming: Option<&'a Path>,
    /// What runs the instructions; never `Auto`.
    pub(crate) accel: Accel,
    /// What ports of the host on loopback lead to.
    pub(crate) forwards: &'a [Forward],
}

/// A port of the host that leads to one inside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forward {
    /// The host's port.
    pub(crate) port: u16,
    /// Whose: a guest's, or (0) the machine's own.
    pub(crate) guest: u32,
    /// The port inside.
    pub(crate) inside: u16,
}

/// QEMU's command line, run by setpriv so that it dies with the thread that starts it, whatever
/// ends that. Its standard input is the control port's socket, its standard output the console.
pub(crate) fn command(spec: &Spec, boot: &Boot<'_>) -> Command {
    let lib = boot.emulator.join("lib");
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(lib.join("ld-linux-x86-64.so.2"))
        .arg("--library-path")
        .arg(&lib)
        .arg(boot.emulator.join("bin").join(PROGRAM))
        .env("QEMU_MODULE_DIR", boot.emulator.join("modules"))
        .env(STATE_VARIABLE, boot.incoming.unwrap_or(boot.outgoing))
        .arg("-L")
        .arg(boot.emulator.join("share"));
    command
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .args(["-machine", "pc", "-smp", &spec.cpus.to_string()])
        .args(["-m", &spec.machine_memory().to_string()])
        .args(processor(spec, boot.accel))
        .args(["-chardev", "file,id=console,path=/dev/stdout", "-serial", "chardev:console"])
        .arg("-chardev")
        .arg(joined("socket,id=shell,server=on,wait=off,path=", boot.shell))
        .args(["-serial", "chardev:shell"])
        .arg("-chardev")
        .arg(joined("socket,id=monitor,server=on,wait=off,path=", boot.monitor))
        .args(["-mon", "chardev=monitor,mode=control"])
        .args(["-chardev", "socket,id=control,fd=0"])
        .args(["-device", &format!("virtio-serial-pci{}", dma(spec.kind))])
        .args(["-device", "virtserialport,chardev=control,name=vmeter.lab"])
        .args(["-netdev", &network(boot.forwards)])
        .args(["-device", "e1000,netdev=net,mac=52:54:00:00:00:0f,romfile="]);
    for (number, path) in spec.wires.iter().enumerate() {
        let (end, mac) = match spec.role {
            Role::Client => ("on", 3),
            Role::Server => ("off", 2),
        };
        command
            .arg("-netdev")
            .arg(joined(
                &format!("stream,id=wire{number},server={end},addr.type=unix,addr.path="),
                path,
            ))
            .arg("-device")
            .arg(format!("e1000,netdev=wire{number},mac=52:54:00:00:0{mac}:{number:02x},romfile="));
    }
    kernel(spec, boot, &mut command);
    if boot.incoming.is_some() {
        command.args(["-incoming", READ_STATE]);
    }
    command
}

/// PV dom0's memory is not where it thinks: devices must use the addresses of Linux's DMA layer.
fn dma(kind: Kind) -> &'static str {
    if kind == Kind::Xen { ",disable-legacy=on,iommu_platform=on" } else { "" }
}

fn processor(spec: &Spec, accel: Accel) -> Vec<String> {
    let words = match (accel, spec.clock) {
        (Accel::Kvm, _) => "-accel kvm -cpu host".to_owned(),
        // QEMU 7.2's IRET from ring 3 faults under SMAP and kills PV dom0.
        (_, Clock::Host) => format!("-accel tcg,thread=multi {}", cpu_model(spec.kind)),
        (_, Clock::Instructions) => {
            let sleep = if spec.idle_time_passes() { "on" } else { "off" };
            let icount = format!("-icount shift=0,sleep={sleep}");
            format!("-accel tcg,thread=single {icount} {}", cpu_model(spec.kind))
        }
    };
    words.split(' ').map(str::to_owned).collect()
}

/// Xen gets no XSAVE, and so no AVX: programs died in dom0, more often the more domains shared a
/// CPU, as if wide registers were lost when Xen switched between them under emulation.
fn cpu_model(kind: Kind) -> &'static str {
    if kind == Kind::Xen { "-cpu max,-smap,-smep,-xsave,-avx,-avx2" } else { "-cpu max" }
}

fn network(forwards: &[Forward]) -> String {
    let mut text = String::from("user,id=net,ipv6=off,restrict=on");
    for Forward { port, guest, inside } in forwards {
        let address = Spec::control_address(*guest);
        text.push_str(&format!(",hostfwd=tcp:127.0.0.1:{port}-{address}:{inside}"));
    }
    text
}

fn kernel(spec: &Spec, boot: &Boot<'_>, command: &mut Command) {
    let linux = boot.image.join("vmlinux");
    if spec.kind == Kind::Xen {
        let mut modules = doubled(&linux);
        modules.push(" console=hvc0 quiet rdinit=/init,");
        modules.push(doubled(boot.initrd));
        command
            .arg("-kernel")
            .arg(boot.image.join("xen"))
            .args([
                "-append",
                &format!(
                    "dom0_mem={0}M,max:{0}M console=com1 com1=115200,8n1 noreboot",
                    spec.host_memory()
                ),
            ])
            .arg("-initrd")
            .arg(modules);
    } else {
        command
            .arg("-kernel")
            .arg(linux)
            .args(["-append", "console=ttyS0 quiet rdinit=/init panic=-1"])
            .arg("-initrd")
            .arg(boot.initrd);
    }
}

fn joined(text: &str, path: &Path) -> OsString {
    let mut whole = OsString::from(text);
    whole.push(doubled(path));
    whole
}

/// A path inside a comma-separated option, where a comma is written twice.
fn doubled(path: &Path) -> OsString {
    match path.to_str() {
        Some(text) => text.replace(',', ",,").into(),
        None => path.as_os_str().to_owned(),
    }
}
