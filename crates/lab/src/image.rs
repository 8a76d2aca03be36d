//! What a machine boots: kernel, hypervisor and first root file system, made from packages.

use files::failed;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::cpio::Archive;
use crate::emulator;
use crate::error::LabError;
use crate::kernel;
use crate::modules::{Module, Modules};
use crate::spec::{AGENT_PORT, AgentFiles, Kind, Spec};
use crate::tree::Tree;

/// Part of every image's key: change it with what this file builds.
pub(crate) const LAYOUT: &str = "3";

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The scripts of the machine: place, permissions and text.
const SCRIPTS: [(&str, &str); 17] = [
    ("init", include_str!("inside/init.sh")),
    ("lab/network.sh", include_str!("inside/network.sh")),
    ("lab/join.sh", include_str!("inside/join.sh")),
    ("lab/start-xen.sh", include_str!("inside/start-xen.sh")),
    ("lab/start-kvm.sh", include_str!("inside/start-kvm.sh")),
    ("lab/start-native.sh", include_str!("inside/start-native.sh")),
    ("lab/control.sh", include_str!("inside/control.sh")),
    ("lab/port.sh", include_str!("inside/port.sh")),
    ("lab/sink.sh", include_str!("inside/sink.sh")),
    ("lab/data.sh", include_str!("inside/data.sh")),
    ("lab/start-agents.sh", include_str!("inside/start-agents.sh")),
    ("etc/xen/scripts/vif-bridge", include_str!("inside/vif.sh")),
    ("etc/xen/scripts/block", include_str!("inside/block.sh")),
    ("usr/bin/guest", include_str!("inside/guest.sh")),
    ("usr/bin/guest-stat", include_str!("inside/guest-stat.sh")),
    ("usr/bin/guest-netdev", include_str!("inside/guest-netdev.sh")),
    ("usr/bin/lab-shell", include_str!("inside/lab-shell.sh")),
];

/// The users of machines and guests: root, and the one that Apache's workers go by.
const USERS: [(&str, &str); 2] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
];

const GUEST_SCRIPTS: [(&str, &str); 3] = [
    ("init", include_str!("inside/guest-init.sh")),
    ("lab/serve.sh", include_str!("inside/serve.sh")),
    ("lab/sink.sh", include_str!("inside/sink.sh")),
];

/// Programs beside busybox, by package. Those that start another program are here because
/// busybox's would start its own applet of that name: its ip or top, not the real one.
const PROGRAMS: [(&str, &[&str]); 9] = [
    ("bash", &["bash"]),
    ("bridge-utils", &["brctl"]),
    ("coreutils", &["env", "nice", "nohup", "timeout"]),
    ("dash", &["dash"]),
    ("findutils", &["find", "xargs"]),
    ("iperf3", &["iperf3"]),
    ("iproute2", &["ip"]),
    ("procps", &["ps", "top", "vmstat"]),
    ("util-linux", &["setsid", "taskset"]),
];

/// Web servers, of machines and of guests.
const SERVERS: [(&str, &[&str]); 2] = [("nginx", &["nginx"]), ("apache2-bin", &["apache2"])];
/// What Apache loads beside its libraries.
const SERVER_MODULES: [&str; 2] =
    ["usr/lib/apache2/modules/mod_mpm_event.so", "usr/lib/apache2/modules/mod_authz_core.so"];

/// The packages of a machine of this kind.
pub(crate) fn packages(kind: Kind) -> Vec<&'static str> {
    let mut names = vec!["linux-image-amd64", "busybox-static", "ncurses-base"];
    names.extend(PROGRAMS.iter().chain(&SERVERS).map(|(package, _)| *package));
    match kind {
        Kind::Xen => names.extend(["xen-system-amd64", "xenstore-utils"]),
        Kind::Kvm => names.extend(emulator::PACKAGES),
        Kind::Native => {}
    }
    names
}

/// All text that goes into images, for their keys.
pub(crate) fn scripts() -> impl Iterator<Item = &'static str> {
    SCRIPTS.iter().chain(&GUEST_SCRIPTS).chain(&USERS).map(|(_, text)| *text)
}

fn machine_modules(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Xen => &[
            "e1000",
            "virtio_pci",
            "virtio_console",
            "xen-evtchn",
            "xen-gntdev",
            "xen-gntalloc",
            "xen-privcmd",
            "xenfs",
            "bridge",
            "veth",
            "xen-netback",
            "xen-blkback",
            "loop",
        ],
        Kind::Kvm => &[
            "e1000",
            "virtio_pci",
            "virtio_console",
            "kvm-amd",
            "kvm-intel",
            "tun",
            "vhost_net",
            "vhost_vsock",
            "bridge",
            "veth",
        ],
        Kind::Native => &["e1000", "virtio_pci", "virtio_console", "bridge", "veth"],
    }
}

fn guest_modules(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Xen => &["xen-netfront", "xen-blkfront"],
        Kind::Kvm => &["virtio_pci", "virtio_net", "virtio_blk", "vmw_vsock_virtio_transport"],
        Kind::Native => &[],
    }
}

/// Builds kernel, hypervisor and base image of a machine into `directory`.
pub(crate) fn build(kind: Kind, tree: &Tree, directory: &Path) -> Result<(), LabError> {
    let (_, packed) = tree.one("boot/vmlinuz-", "")?;
    let kernel = kernel::elf_image(packed, &read(packed)?)?;
    write(&directory.join("vmlinux"), &kernel)?;
    if kind == Kind::Xen {
        let (_, hypervisor) = tree.one("boot/xen-", ".gz")?;
        write(&directory.join("xen"), &kernel::unpacked(hypervisor, &read(hypervisor)?)?)?;
    }
    let path = base(directory);
    let file = fs::File::create(&path).map_err(failed("write", &path))?;
    let modules = Modules::of(tree)?;
    let contents = Contents {
        programs: programs(kind, tree)?,
        modules: modules.in_order(machine_modules(kind))?,
        guest: (kind != Kind::Native).then(|| guest(kind, tree, &modules)).transpose()?,
        kernel: &kernel,
    };
    Ok(contents.write(kind, tree, io::BufWriter::new(file))?.map_err(failed("write", &path))?)
}

/// What goes into a machine's root file system.
struct Contents<'a> {
    /// Name in the image and place in the tree.
    programs: BTreeMap<String, PathBuf>,
    modules: Vec<Module>,
    guest: Option<Vec<u8>>,
    kernel: &'a [u8],
}

impl Contents<'_> {
    fn write(&self, kind: Kind, tree: &Tree, out: impl Write) -> Result<io::Result<()>, LabError> {
        let files = with_libraries(&self.programs, tree)?;
        let mut data: Vec<(String, Vec<u8>)> = Vec::new();
        for (name, path) in tree.files().filter(|(name, _)| is_data(kind, name)) {
            data.push((name.to_owned(), read(path)?));
        }
        Ok(self.archive(Archive::new(out), &files, &data))
    }

    fn archive<W: Write>(
        &self,
        mut archive: Archive<W>,
        executables: &[(String, Vec<u8>)],
        data: &[(String, Vec<u8>)],
    ) -> io::Result<()> {
        skeleton(&mut archive, "dash")?;
        for (name, contents) in executables {
            archive.file(name, 0o755, contents)?;
            // Xen's tools live in a directory of their version; the shell finds them in /usr/sbin.
            if let Some(tool) = xen_tool(name) {
                archive.link(&format!("usr/sbin/{tool}"), &format!("/{name}"))?;
            }
        }
        for (name, contents) in data {
            archive.file(name, 0o644, contents)?;
        }
        modules(&mut archive, &self.modules)?;
        for (name, text) in SCRIPTS {
            archive.file(name, 0o755, text.as_bytes())?;
        }
        users(&mut archive)?;
        if let Some(guest) = &self.guest {
            archive.file("lab/vmlinux", 0o644, self.kernel)?;
            archive.file("lab/guest.img", 0o644, guest)?;
        }
        archive.finish()?.flush()
    }
}

/// Programs, and the libraries that they load: name and contents.
fn with_libraries(
    programs: &BTreeMap<String, PathBuf>,
    tree: &Tree,
) -> Result<Vec<(String, Vec<u8>)>, LabError> {
    let paths: Vec<&Path> = programs.values().map(PathBuf::as_path).collect();
    let mut files = Vec::new();
    for (name, path) in programs {
        files.push((name.clone(), read(path)?));
    }
    for (name, path) in tree.libraries(&paths)? {
        files.push((format!("{LIBRARIES}/{name}"), read(path)?));
    }
    Ok(files)
}

fn users<W: Write>(archive: &mut Archive<W>) -> io::Result<()> {
    USERS.iter().try_for_each(|(name, text)| archive.file(name, 0o644, text.as_bytes()))
}

/// The directories and links that every root file system starts with, and its shell.
fn skeleton<W: Write>(archive: &mut Archive<W>, shell: &str) -> io::Result<()> {
    for name in ["proc", "sys", "run", "tmp", "root", "var/log", "usr/local/busybox", "usr/sbin"] {
        archive.directory(name)?;
    }
    archive.directory(LIBRARIES)?;
    for (name, target) in [
        ("bin", "usr/bin"),
        ("sbin", "usr/sbin"),
        ("lib", "usr/lib"),
        ("lib64", LIBRARIES),
        ("var/run", "/run"),
    ] {
        archive.link(name, target)?;
    }
    archive.link("usr/bin/sh", shell)?;
    archive.console()
}

fn modules<W: Write>(archive: &mut Archive<W>, modules: &[Module]) -> io::Result<()> {
    let mut order = String::new();
    for module in modules {
        archive.file(&format!("lab/modules/{}", module.file), 0o644, &module.contents)?;
        order.push_str(&module.file);
        order.push('\n');
    }
    archive.file("lab/modules.order", 0o644, order.as_bytes())
}

/// A guest's whole root file system: busybox, web servers, a few modules and an init.
fn guest(kind: Kind, tree: &Tree, found: &Modules) -> Result<Vec<u8>, LabError> {
    let busybox = read(tree.program("busybox")?)?;
    let loaded = found.in_order(guest_modules(kind))?;
    let servers = with_libraries(&servers(tree)?, tree)?;
    let archive = || {
        let mut archive = Archive::new(Vec::new());
        skeleton(&mut archive, "busybox")?;
        archive.file("usr/bin/busybox", 0o755, &busybox)?;
        for (name, contents) in &servers {
            archive.file(name, 0o755, contents)?;
        }
        modules(&mut archive, &loaded)?;
        for (name, text) in GUEST_SCRIPTS {
            archive.file(name, 0o755, text.as_bytes())?;
        }
        users(&mut archive)?;
        archive.finish()
    };
    Ok(archive().map_err(failed("write", Path::new("guest.img")))?)
}

/// The programs of a machine, by their name in the image.
fn programs(kind: Kind, tree: &Tree) -> Result<BTreeMap<String, PathBuf>, LabError> {
    let mut names: Vec<&str> = vec!["busybox"];
    names.extend(PROGRAMS.iter().flat_map(|(_, programs)| *programs));
    if kind == Kind::Kvm {
        names.push(emulator::PROGRAM);
    }
    let mut found = servers(tree)?;
    for name in names {
        found.insert(format!("usr/bin/{name}"), tree.program(name)?.to_owned());
    }
    if kind == Kind::Xen {
        for (name, path) in tree.files() {
            // The C xenstored serves; the other one would double the image.
            let tool = xen_tool(name).is_some_and(|tool| tool != "oxenstored");
            if (tool || name.starts_with("usr/bin/xenstore")) && is_elf(path)? {
                found.insert(name.to_owned(), path.clone());
            }
        }
        tree.one("usr/lib/xen-", "/bin/xl")?;
    }
    Ok(found)
}

/// The web servers, by their name in the image.
fn servers(tree: &Tree) -> Result<BTreeMap<String, PathBuf>, LabError> {
    let mut found = BTreeMap::new();
    for name in SERVERS.iter().flat_map(|(_, programs)| *programs) {
        found.insert(format!("usr/sbin/{name}"), tree.program(name)?.to_owned());
    }
    for name in SERVER_MODULES {
        found.insert(name.to_owned(), tree.one(name, "")?.1.to_owned());
    }
    Ok(found)
}

/// The tool's name, for a file in Xen's own directory of programs.
fn xen_tool(name: &str) -> Option<&str> {
    let (_, tool) = name.strip_prefix("usr/lib/xen-")?.split_once("/bin/")?;
    (!tool.contains('/')).then_some(tool)
}

/// Whether a machine needs this file besides programs: terminals' descriptions, QEMU's firmware.
fn is_data(kind: Kind, name: &str) -> bool {
    // What a kernel can count stands in its configuration, as on any host.
    let plain = ["usr/lib/terminfo/", "boot/config-"].iter().any(|place| name.starts_with(place));
    plain || (kind == Kind::Kvm && emulator::is_firmware(name))
}

/// The first root file system in an image's cache entry.
pub(crate) fn base(entry: &Path) -> PathBuf {
    entry.join("base.cpio")
}

/// Writes what one boot adds to the image: its settings.
pub(crate) fn overlay(spec: &Spec, token: &str, out: &mut dyn Write) -> Result<(), LabError> {
    let bridge = match (spec.bridge, spec.kind) {
        (false, _) => "",
        (true, Kind::Xen) => "xenbr0",
        (true, _) => "br0",
    };
    let settings = format!(
        "KIND={}\nGUESTS={}\nVCPUS={}\nGUEST_MEMORY={}\nBRIDGE={bridge}\nTOKEN={token}\n\
         WIRES={}\nLAST={}\nAGENT={AGENT_PORT}\n",
        spec.kind.name(),
        spec.guests,
        spec.vcpus,
        spec.guest_memory(),
        spec.wires.len(),
        spec.address_on(0, 0).octets()[3],
    );
    let write = || {
        let mut archive = Archive::new(out);
        archive.file("lab/settings", 0o644, settings.as_bytes())?;
        archive.finish()?.flush()
    };
    Ok(write().map_err(failed("write", Path::new("the boot image")))?)
}

/// A file for a machine: its place in it, its mode and its contents.
pub(crate) type Equipment = (String, u32, Vec<u8>);

/// What is put into a machine that is ready: the spec's files, and the agent's program and key.
pub(crate) fn equipment(spec: &Spec) -> Result<Vec<Equipment>, LabError> {
    let mut found = Vec::new();
    for path in &spec.put {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.filter(|name| !name.contains(char::is_whitespace));
        let name = name.ok_or_else(|| LabError::Spec {
            problem: format!("{} has no usable file name", path.display()),
        })?;
        let mode = fs::metadata(path).map_err(failed("read", path))?.permissions().mode();
        found.push((format!("/root/{name}"), mode, read(path)?));
    }
    if let Some(agent) = &spec.agent {
        found.push((AGENT_ARCHIVE.to_owned(), 0o600, agent_archive(agent)?));
    }
    Ok(found)
}

/// Where `start-agents.sh` finds the agent.
const AGENT_ARCHIVE: &str = "/lab/agent.cpio";

/// The agent's program and key.
fn agent_archive(agent: &AgentFiles) -> Result<Vec<u8>, LabError> {
    let (program, key) = (read(&agent.program)?, read(&agent.key)?);
    let packed = || {
        let mut archive = Archive::new(Vec::new());
        archive.directory("lab/agent")?;
        archive.file("lab/agent/vmeter", 0o755, &program)?;
        archive.file("lab/agent/key", 0o600, &key)?;
        archive.finish()
    };
    Ok(packed().map_err(failed("pack", &agent.program))?)
}

fn is_elf(path: &Path) -> Result<bool, LabError> {
    Ok(crate::elf::is_elf(&read(path)?))
}

fn read(path: &Path) -> Result<Vec<u8>, LabError> {
    Ok(fs::read(path).map_err(failed("read", path))?)
}

fn write(path: &Path, contents: &[u8]) -> Result<(), LabError> {
    Ok(fs::write(path, contents).map_err(failed("write", path))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_of_any_xen_version_are_found() {
        assert_eq!(xen_tool("usr/lib/xen-4.17/bin/xl"), Some("xl"));
        assert_eq!(xen_tool("usr/lib/xen-4.20/bin/a/b"), None);
        assert_eq!(xen_tool("usr/sbin/xl"), None);
    }

    #[test]
    fn a_machine_gets_its_settings_and_files_with_their_modes() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("tool");
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o751)).unwrap();
        let mut spec = Spec::new(Kind::Xen);
        spec.put = vec![path];
        let mut out = Vec::new();
        overlay(&spec, "secret", &mut out).unwrap();
        let text = String::from_utf8_lossy(&out);
        assert!(text.contains("BRIDGE=xenbr0\nTOKEN=secret\n"), "{text}");
        let found = equipment(&spec).unwrap();
        assert_eq!(found, [("/root/tool".to_owned(), 0o100_751, b"x".to_vec())]);
        for wrong in ["absent", "two words"] {
            spec.put = vec![place.path().join(wrong)];
            assert!(equipment(&spec).is_err());
        }
    }
}
