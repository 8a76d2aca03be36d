//! What a control group is called, and which are containers and jobs.

/// Prefixes of scopes and folders that container engines make, before the container's 64 digits.
const ENGINES: [(&str, &str); 7] = [
    ("docker-", "docker"),
    ("libpod-payload-", "podman"),
    ("libpod-", "podman"),
    ("cri-containerd-", "containerd"),
    ("nerdctl-", "nerdctl"),
    ("crio-", "crio"),
    ("apptainer-", "apptainer"),
];

/// The name of the group at `path`.
///
/// The names of the containers and jobs that it is in, and what is below the innermost
/// (`lxc:web/system.slice`). Elsewhere its last component, and those before it from the second
/// on, as different users' groups of one name are told apart by these; with systemd's escapes
/// undone.
pub(super) fn of(path: &str) -> String {
    let (mut names, mut rest) = (Vec::new(), Vec::new());
    let mut ends = path.match_indices('/').map(|(at, _)| at).skip(1).collect::<Vec<_>>();
    ends.push(path.len());
    for end in ends {
        let (prefix, _) = path.split_at_checked(end).unwrap_or((path, ""));
        if let Some(name) = container(prefix).or_else(|| monitor(prefix)) {
            names.push(name);
            rest.clear();
        } else {
            rest.extend(prefix.rsplit('/').next().map(unescape));
        }
    }
    if names.is_empty() && rest.len() > 1 {
        rest.remove(0);
    }
    names.extend(rest);
    if names.is_empty() { "/".to_owned() } else { names.join("/") }
}

/// The name of the container or the job of a batch system that the group at `path` is; `None`
/// where it is none, or something inside one.
pub(super) fn container(path: &str) -> Option<String> {
    let mut parts = path.rsplit('/').filter(|part| !part.is_empty());
    let last = parts.next()?;
    let parent = parts.next().unwrap_or_default();
    let plain = last.strip_suffix(".scope").unwrap_or(last);
    engine(plain)
        .or_else(|| lxc(parent, last))
        .or_else(|| {
            let short = short(plain)?;
            Some(match parent {
                "docker" => format!("docker:{short}"),
                "podman" | "libpod_parent" => format!("podman:{short}"),
                _ => short.to_owned(),
            })
        })
        .or_else(|| job(path, plain))
}

/// Kubernetes' pod that the group at `path` is in: its UID, 32 hexadecimal digits (with or
/// without dashes).
pub(super) fn pod(path: &str) -> Option<String> {
    path.split('/').find_map(|part| {
        let plain = part.split(':').next()?.strip_suffix(".slice").unwrap_or(part);
        let uid = plain.strip_prefix("pod").or_else(|| plain.rsplit_once("-pod").map(|it| it.1))?;
        let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
        let others = uid.bytes().all(|it| it.is_ascii_hexdigit() || matches!(it, b'_' | b'-'));
        (digits == 32 && others).then(|| uid.replace('_', "-"))
    })
}

/// The whole identifier of the container that the group at `path` is.
pub(super) fn id(path: &str) -> Option<&str> {
    let last = path.rsplit('/').next()?;
    let plain = last.strip_suffix(".scope").unwrap_or(last);
    let start = plain.len().checked_sub(64)?;
    plain.get(start..).filter(|id| short(id).is_some())
}

/// `docker-ID`, and `kubepods-podUID.slice:cri-containerd:ID` of a runtime that was given
/// systemd's names without systemd.
fn engine(plain: &str) -> Option<String> {
    let prefixed = ENGINES.iter().find_map(|(prefix, engine)| {
        let id = plain.strip_prefix(prefix)?;
        let pid = || (*engine == "apptainer" && is_number(id)).then_some(id);
        Some(format!("{engine}:{}", short(id).or_else(pid)?))
    });
    prefixed.or_else(|| {
        let (before, id) = plain.rsplit_once(':')?;
        let made_by = before.rsplit(':').next()?;
        let prefix = |(prefix, _): &&(&str, &str)| prefix.strip_suffix('-') == Some(made_by);
        let (_, engine) = ENGINES.iter().find(prefix)?;
        Some(format!("{engine}:{}", short(id)?))
    })
}

/// `/lxc.payload.NAME` (LXC 4 and later, Incus, LXD), `/lxc.payload/NAME` (LXC 3), `/lxc/NAME`
/// (before, and Proxmox VE).
fn lxc(parent: &str, last: &str) -> Option<String> {
    let name = match last.strip_prefix("lxc.payload.") {
        Some(name) => name,
        None if matches!(parent, "lxc" | "lxc.payload") => last,
        None => return None,
    };
    Some(format!("lxc:{}", unescape(name)))
}

/// Jobs of Slurm (`…/slurmstepd.scope/job_7`, `/slurm/uid_1000/job_7`) and tasks of Nomad
/// (`/nomad.slice/share.slice/ALLOCATION.TASK.scope`, `/nomad/ALLOCATION.TASK`).
fn job(path: &str, plain: &str) -> Option<String> {
    let above = |word: fn(&str) -> bool| path.rsplit('/').skip(1).any(word);
    if let Some(number) = plain.strip_prefix("job_") {
        let slurm = above(|part| part.ends_with("slurmstepd.scope") || part.starts_with("slurm"));
        return (slurm && is_number(number)).then(|| format!("slurm:{number}"));
    }
    let (allocation, task) = plain.split_once('.')?;
    let nomad = above(|part| matches!(part, "nomad" | "nomad.slice"));
    (nomad && is_uuid(allocation)).then(|| {
        let short = allocation.split('-').next().unwrap_or(allocation);
        format!("nomad:{short}.{}", unescape(task))
    })
}

/// The monitor that Podman and CRI-O run beside each container.
fn monitor(path: &str) -> Option<String> {
    let last = path.rsplit('/').next()?;
    let plain = last.strip_suffix(".scope").unwrap_or(last);
    let id = plain.strip_prefix("libpod-conmon-").or_else(|| plain.strip_prefix("crio-conmon-"))?;
    Some(format!("conmon:{}", short(id)?))
}

/// The first 12 digits of a container's identifier, which has 64.
fn short(id: &str) -> Option<&str> {
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { id.get(..12) } else { None }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `8-4-4-4-12` hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|it| it.is_ascii_hexdigit() || it == b'-')
}

/// `machine-qemu\x2d1\x2dweb.scope` is `machine-qemu-1-web.scope`.
fn unescape(name: &str) -> String {
    let mut parts = name.split("\\x");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code.filter(u8::is_ascii) {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(part.get(2..).unwrap_or_default());
            }
            None => {
                plain.push_str("\\x");
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    fn id64() -> String {
        "0123456789abcdef".repeat(4)
    }

    #[test]
    fn names_are_short_and_plain() {
        let id = id64();
        assert_eq!(of("/system.slice/nginx.service"), "nginx.service");
        assert_eq!(of(&format!("/system.slice/docker-{id}.scope")), "docker:0123456789ab");
        assert_eq!(of(&format!("/docker/{id}")), "docker:0123456789ab");
        assert_eq!(of(&format!("/machine.slice/libpod-{id}.scope")), "podman:0123456789ab");
        assert_eq!(of(&format!("/kubepods/podx/{id}")), "0123456789ab");
        assert_eq!(of("/lxc.payload.web"), "lxc:web");
        assert_eq!(
            of("/machine.slice/machine-qemu\\x2d1\\x2dweb.scope"),
            "machine-qemu-1-web.scope"
        );
        assert_eq!(of("/a/b\\xzz"), "b\\xzz");
        assert_eq!(of("/user.slice"), "user.slice");
    }

    #[test]
    fn containers_and_jobs_at_any_depth() {
        let id = id64();
        let user = "/user.slice/user-1000.slice/user@1000.service";
        let of_path = [
            (format!("/kubepods.slice/kubepods-podx.slice/crio-{id}.scope"), "crio:0123456789ab"),
            (format!("/kubepods/burstable/podx/crio-{id}"), "crio:0123456789ab"),
            (format!("{user}/user.slice/libpod-{id}.scope"), "podman:0123456789ab"),
            (format!("/system.slice/web.service/libpod-payload-{id}"), "podman:0123456789ab"),
            (
                format!("/system.slice/containerd.service/kubepods-podx.slice:cri-containerd:{id}"),
                "containerd:0123456789ab",
            ),
            ("/lxc.payload/web".to_owned(), "lxc:web"),
            ("/lxc/101".to_owned(), "lxc:101"),
            ("/system.slice/slurmstepd.scope/job_71".to_owned(), "slurm:71"),
            ("/system.slice/node1_slurmstepd.scope/job_71".to_owned(), "slurm:71"),
            ("/slurm/uid_1000/job_71".to_owned(), "slurm:71"),
            (
                "/nomad.slice/share.slice/0a1b2c3d-0000-1111-2222-0123456789ab.web.scope"
                    .to_owned(),
                "nomad:0a1b2c3d.web",
            ),
        ];
        for (path, name) in of_path {
            assert_eq!(container(&path).as_deref(), Some(name), "{path}");
            assert_eq!(of(&path), name);
            assert_eq!(container(&format!("{path}/init.scope")), None);
            assert_eq!(of(&format!("{path}/a/init.scope")), format!("{name}/a/init.scope"));
        }
        let none =
            ["/system.slice/job_71", "/a/b.c", "/lxc", "/lxc.monitor.web", "/nomad.slice/a.b"];
        for path in none {
            assert_eq!(container(path), None, "{path}");
        }
        assert_eq!(container(&format!("/a/libpod-conmon-{id}.scope")), None);
        assert_eq!(of(&format!("/a/libpod-conmon-{id}.scope")), "conmon:0123456789ab");
        let app = format!("{user}/app.slice");
        assert_eq!(of(&app), "user-1000.slice/user@1000.service/app.slice");
    }

    #[test]
    fn a_pods_uid_is_in_the_path() {
        let uid = "1c2d3e4f-0000-1111-2222-0123456789ab";
        let id = id64();
        let slice = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
        let path = format!("/kubepods.slice/kubepods-burstable.slice/{slice}/crio-{id}.scope");
        assert_eq!(pod(&path).as_deref(), Some(uid));
        assert_eq!(self::id(&path), Some(id.as_str()));
        assert_eq!(pod(&format!("/kubepods/burstable/pod{uid}/{id}")).as_deref(), Some(uid));
        assert_eq!(pod("/kubepods/podx/y"), None);
        assert_eq!(self::id("/a/b"), None);
    }

    #[test]
    fn hostile_input() {
        let path = format!(
            "/nomad/machine.slice:crio:x/lxc/machine-qemu\\x2d1\\x2d\u{e9}web.scope/docker-{}",
            id64()
        );
        survives(path.as_bytes(), |bytes| {
            let path = String::from_utf8_lossy(bytes);
            of(&path);
            let _ = (container(&path), pod(&path), id(&path));
        });
    }
}
