//! `vmeter agent install`: a systemd unit with no more privileges than the agent needs.

use crate::failure::Refused;
use crate::pending::Pending;
use ::agent::{Key, Keys, Role};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use platform::host::Tree;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const UNIT: &str = "vmeter-agent.service";
/// Folders that the unit hides from its program (ProtectHome, PrivateTmp).
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// Writes a systemd unit for the agent.
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// Address to listen on: HOST:PORT or vsock:PORT
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5203")]
    listen: String,
    /// Key file; created if it does not exist
    #[arg(long, value_name = "FILE", default_value = "/etc/vmeter.key")]
    key: PathBuf,
    /// User to run the agent as [default: a dynamic user of systemd, or root if hypercalls or
    /// interrupts require it]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Permissions of the agent
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// Print the unit and write nothing
    #[arg(long)]
    print: bool,
    /// Replace an existing unit that differs
    #[arg(long)]
    force: bool,
    /// Directory of systemd units
    #[arg(long, value_name = "DIR", default_value = "/etc/systemd/system")]
    unit_dir: PathBuf,
}

/// What an agent may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Profile {
    /// Serves counters only
    #[default]
    Reader,
    /// Also runs workloads, changes settings and accepts files
    Full,
}

/// What a unit is made of, checked.
#[derive(Debug)]
struct Unit<'a> {
    program: &'a Path,
    listen: &'a str,
    key: &'a Path,
    user: Option<&'a str>,
    profile: Profile,
    /// Whether this is a Xen control domain.
    xen: bool,
}

/// Runs the subcommand.
pub fn run(args: &InstallArgs) -> Result<ExitCode> {
    check_listen(&args.listen)?;
    check_user(args.user.as_deref())?;
    let program = std::env::current_exe().context("cannot find the executable of this program")?;
    let key = std::path::absolute(&args.key).with_context(|| args.key.display().to_string())?;
    let unit = Unit {
        program: &program,
        listen: &args.listen,
        key: &key,
        user: args.user.as_deref(),
        profile: args.profile,
        xen: Tree::open(Path::new("/")).is_ok_and(|tree| platform::xen::is_here(&tree)),
    };
    let text = unit.text()?;
    if args.print {
        io::stdout().write_all(text.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    if HIDDEN.iter().any(|folder| program.starts_with(folder)) {
        return Err(Refused(format!(
            "a service cannot run {}: copy it to /usr/local/bin first",
            program.display()
        ))
        .into());
    }
    let path = args.unit_dir.join(UNIT);
    let mut said = String::new();
    let wrote = write_unit(&path, &text, args.force)?;
    let _ =
        writeln!(said, "{} {}", path.display(), if wrote { "written" } else { "is up to date" });
    if make_key(&key, args.profile, &mut said)? {
        let _ = writeln!(said, "{} created: copy it to the controller", key.display());
    }
    let _ = writeln!(said, "next: systemctl daemon-reload && systemctl enable --now vmeter-agent");
    io::stdout().write_all(said.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn check_listen(listen: &str) -> Result<()> {
    let fits = match listen.strip_prefix("vsock:") {
        Some(port) => port.parse::<u32>().is_ok(),
        None => workload::address::addresses(listen).is_ok(),
    };
    if fits {
        Ok(())
    } else {
        Err(Refused(format!(
            "invalid address `{}`: expected HOST:PORT or vsock:PORT",
            model::escape(listen)
        ))
        .into())
    }
}

fn check_user(user: Option<&str>) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match user {
        Some(name) if name.is_empty() || name.starts_with('-') || !name.chars().all(plain) => {
            Err(Refused(format!("invalid user name `{}`", model::escape(name))).into())
        }
        _ => Ok(()),
    }
}

/// Writes the unit whole or not at all; false where it is there as it is.
fn write_unit(path: &Path, text: &str, force: bool) -> Result<bool> {
    let shown = || path.display().to_string();
    match fs::read_to_string(path) {
        Ok(there) if there == text => return Ok(false),
        Ok(_) if !force => {
            return Err(Refused(format!(
                "{} exists and differs: use --force to replace it, --print to see the new unit",
                shown()
            ))
            .into());
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(shown),
    }
    Pending::create(path)?.finish(text)?;
    Ok(true)
}

/// Makes the key where there is none; false where it is there, which must be one.
fn make_key(path: &Path, profile: Profile, said: &mut String) -> Result<bool> {
    if path.exists() {
        let keys = Keys::read(path)?;
        if profile == Profile::Full && keys.iter().all(|key| key.role() < Role::Configure) {
            let path = path.display();
            let _ = writeln!(
                said,
                "{path} has no key with the role configure: run vmeter agent key {path} --add \
                 --role configure"
            );
        }
        return Ok(false);
    }
    let role = match profile {
        Profile::Reader => Role::Read,
        Profile::Full => Role::Configure,
    };
    Key::create(path, role, None, false)?;
    Ok(true)
}

impl Unit<'_> {
    fn text(&self) -> Result<String> {
        Ok([
            "# Written by `vmeter agent install`.\n[Unit]\n\
             Description=vmeter's local monitor\n\
             Wants=network-online.target\n\
             After=network-online.target\n\n[Service]\n"
                .to_owned(),
            self.start()?,
            self.user(),
            self.capabilities(),
            self.walls(),
            "\n[Install]\nWantedBy=multi-user.target\n".to_owned(),
        ]
        .concat())
    }

    fn start(&self) -> Result<String> {
        let program = word(self.program)?;
        let key = self.key.display().to_string();
        if key.contains(|c: char| c.is_whitespace() || c.is_control() || c == ':') {
            return Err(
                Refused(format!("invalid key path {key:?}: systemd does not accept it")).into()
            );
        }
        let reads = if self.profile == Profile::Reader { " --read-only" } else { "" };
        let listen = self.listen.replace('%', "%%");
        Ok(format!(
            "ExecStart={program} agent run --listen {listen} --key ${{CREDENTIALS_DIRECTORY}}/key\
             {reads}\n\
             Restart=on-failure\nRestartSec=2\n\
             # The key's file stays root's: systemd hands the agent a copy.\n\
             LoadCredential=key:{}\n",
            key.replace('%', "%%")
        ))
    }

    /// Whether the agent has to be root, if with few of root's rights.
    fn needs_root(&self) -> Option<&'static str> {
        match (self.xen, self.profile) {
            (true, _) => Some("Only root can open /dev/xen/privcmd, which hypercalls need."),
            (false, Profile::Full) => {
                Some("Only root can write /proc/irq, which moving interrupts needs.")
            }
            (false, Profile::Reader) => None,
        }
    }

    fn user(&self) -> String {
        match (self.user, self.needs_root()) {
            (Some(user), Some(why)) => format!("# {why} This user cannot.\nUser={user}\n"),
            (Some(user), None) => format!("User={user}\n"),
            (None, Some(why)) => {
                format!("# {why} Of root's rights it has those below.\nUser=root\n")
            }
            (None, None) => "DynamicUser=yes\n".to_owned(),
        }
    }

    fn capabilities(&self) -> String {
        let mut wanted = vec![
            ("CAP_SYS_PTRACE", "open files, devices and I/O of VMMs of other users"),
            ("CAP_DAC_READ_SEARCH", "their /proc/PID/fd and /proc/PID/io, and KVM's debugfs"),
        ];
        if self.profile == Profile::Full {
            wanted.push(("CAP_SYS_NICE", "the CPUs of vCPUs and backends"));
            wanted.push(("CAP_NET_ADMIN", "offloads of network devices"));
        }
        let mut text = String::new();
        for (name, why) in &wanted {
            let _ = writeln!(text, "# {name}: {why}.");
        }
        let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
        let names = names.join(" ");
        let _ = writeln!(text, "CapabilityBoundingSet={names}\nAmbientCapabilities={names}");
        text
    }

    /// What the agent cannot do or reach.
    fn walls(&self) -> String {
        let vsock = if self.listen.starts_with("vsock:") { " AF_VSOCK" } else { "" };
        let mut text = format!(
            "NoNewPrivileges=yes\nProtectSystem=strict\nProtectHome=yes\nPrivateTmp=yes\n\
             ProtectKernelModules=yes\nProtectKernelLogs=yes\nProtectControlGroups=yes\n\
             ProtectHostname=yes\nRestrictNamespaces=yes\nRestrictRealtime=yes\n\
             RestrictSUIDSGID=yes\nLockPersonality=yes\nUMask=0077\n\
             # Netlink tells the addresses of devices.\n\
             RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK{vsock}\n\
             SystemCallArchitectures=native\nSystemCallFilter=@system-service\n\
             SystemCallErrorNumber=EPERM\n"
        );
        text += if self.xen {
            "DevicePolicy=closed\nDeviceAllow=/dev/xen/privcmd rw\n\
             DeviceAllow=/dev/xen/hypercall rw\nDeviceAllow=/dev/xen/xenbus rw\n"
        } else {
            "PrivateDevices=yes\n"
        };
        text += match self.profile {
            Profile::Reader => {
                "ProtectKernelTunables=yes\nMemoryDenyWriteExecute=yes\nMemoryMax=256M\n"
            }
            // No ProtectKernelTunables, which would close /proc/irq, and no
            // MemoryDenyWriteExecute: the CPU load writes the functions that it calls.
            Profile::Full => {
                "# Where settings are written down, so that a killed agent's are undone.\n\
                 RuntimeDirectory=vmeter\nRuntimeDirectoryPreserve=yes\n\
                 # For workloads and the files that controllers put.\nMemoryMax=4G\n"
            }
        };
        text
    }
}

/// A path as a word of ExecStart.
fn word(path: &Path) -> Result<String> {
    let text = path.to_str().filter(|text| !text.contains(char::is_control));
    let text =
        text.ok_or_else(|| Refused(format!("invalid path {path:?}: systemd does not accept it")))?;
    let mut word = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => word.extend(['\\', c]),
            '%' | '$' => word.extend([c, c]),
            c => word.push(c),
        }
    }
    word.push('"');
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(profile: Profile, xen: bool) -> String {
        let (program, key) = (Path::new("/usr/local/bin/vmeter"), Path::new("/etc/vmeter.key"));
        let unit = Unit { program, listen: "127.0.0.1:5203", key, user: None, profile, xen };
        unit.text().unwrap()
    }

    #[test]
    fn each_profile_has_what_it_needs_and_no_more() {
        let reader = unit(Profile::Reader, false);
        assert!(reader.contains("DynamicUser=yes") && reader.contains("--read-only"));
        assert!(!reader.contains("CAP_NET_ADMIN") && !reader.contains("User=root"));
        let full = unit(Profile::Full, false);
        assert!(full.contains("User=root") && full.contains("CAP_NET_ADMIN"));
        assert!(!full.contains("MemoryDenyWriteExecute=yes") && !full.contains("--read-only"));
        let xen = unit(Profile::Reader, true);
        assert!(xen.contains("User=root") && xen.contains("DeviceAllow=/dev/xen/privcmd rw"));
        assert!(!xen.contains("PrivateDevices=yes"));
        for text in [reader, full, xen] {
            let mut names = text.lines().filter_map(|line| line.split_once('=')).map(|it| it.0);
            assert!(names.all(|name| name.starts_with('#') || !name.contains(' ')), "{text}");
            for name in ["CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"] {
                assert!(!text.contains(name));
            }
            assert_eq!(text.matches("\n[").count(), 3, "{text}");
        }
    }

    #[test]
    fn names_are_quoted_or_refused() {
        assert_eq!(word(Path::new("/a b/$c%\"")).unwrap(), "\"/a b/$$c%%\\\"\"");
        assert!(word(Path::new("/a\nExecStart=/b")).is_err());
        assert!(check_user(Some("a b")).is_err() && check_user(Some("root\n")).is_err());
        assert!(check_user(Some("vmeter-1")).is_ok() && check_user(None).is_ok());
        assert!(check_listen("vsock:5203").is_ok() && check_listen("vsock:x").is_err());
        assert!(check_listen("0.0.0.0:1\nUser=root").is_err() && check_listen("x y").is_err());
    }
}
