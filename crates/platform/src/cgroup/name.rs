//! What a control group is called.

/// The name of the group at `path`: its last component, with systemd's escapes undone, and the
/// long identifiers of container engines cut as the engines themselves show them.
pub(super) fn of(path: &str) -> String {
    let mut parts = path.rsplit('/').filter(|part| !part.is_empty());
    let last = parts.next().unwrap_or("/");
    let parent = parts.next().unwrap_or_default();
    let plain = last.strip_suffix(".scope").unwrap_or(last);
    let engines = [
        ("docker-", "docker"),
        ("libpod-", "podman"),
        ("cri-containerd-", "containerd"),
        ("nerdctl-", "nerdctl"),
        ("crio-", "crio"),
    ];
    for (prefix, engine) in engines {
        if let Some(short) = plain.strip_prefix(prefix).and_then(short) {
            return format!("{engine}:{short}");
        }
    }
    if let Some(name) = last.strip_prefix("lxc.payload.") {
        return format!("lxc:{name}");
    }
    match (parent, short(plain)) {
        ("docker" | "podman" | "libpod_parent", Some(short)) => {
            let engine = if parent == "docker" { "docker" } else { "podman" };
            format!("{engine}:{short}")
        }
        ("lxc", _) => format!("lxc:{last}"),
        (_, Some(short)) => short.to_owned(),
        _ => unescape(last),
    }
}

/// The first 12 digits of a container's identifier, which has 64.
fn short(id: &str) -> Option<&str> {
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { id.get(..12) } else { None }
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
    use crate::host::testing::survives;

    #[test]
    fn names_are_short_and_plain() {
        let id = "0123456789abcdef".repeat(4);
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
    }

    #[test]
    fn hostile_input() {
        survives(b"/machine.slice/machine-qemu\\x2d1\\x2d\xc3\xa9web.scope", |bytes| {
            of(&String::from_utf8_lossy(bytes));
        });
    }
}
