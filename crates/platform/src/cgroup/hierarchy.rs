//! Where the control groups' files are.

use crate::host::{Tree, fields, lines};

/// The hierarchies that are mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hierarchy {
    /// Version 2: one tree for all.
    Unified { root: String },
    /// Version 1: a tree per controller. Groups are looked for in cpuacct's.
    Split {
        cpuacct: String,
        cpu: Option<String>,
        cpuset: Option<String>,
        memory: Option<String>,
        blkio: Option<String>,
    },
}

impl Hierarchy {
    /// Version 2 where it has the cpu controller, else version 1's cpuacct, else version 2
    /// without that controller, which counts CPU time all the same.
    pub(super) fn find(tree: &Tree) -> Option<Self> {
        let mut buffer = Vec::new();
        let paths = ["/proc/self/mountinfo", "/proc/1/mountinfo"];
        let mounts = paths
            .iter()
            .find_map(|path| Some(Mounts::parse(tree.read(path, &mut buffer).ok()?)))?;
        let split = mounts.cpuacct.map(|cpuacct| Self::Split {
            cpuacct,
            cpu: mounts.cpu,
            cpuset: mounts.cpuset,
            memory: mounts.memory,
            blkio: mounts.blkio,
        });
        let Some(root) = mounts.unified else { return split };
        let controllers = tree.read_text(&format!("{root}/cgroup.controllers")).unwrap_or_default();
        let has_cpu = controllers.split_ascii_whitespace().any(|controller| controller == "cpu");
        let unified = Self::Unified { root };
        if has_cpu { Some(unified) } else { split.or(Some(unified)) }
    }

    /// The folder in which the groups' tree is walked.
    pub(super) fn root(&self) -> &str {
        match self {
            Self::Unified { root } => root,
            Self::Split { cpuacct, .. } => cpuacct,
        }
    }
}

/// Mount points of control groups' file systems.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mounts {
    unified: Option<String>,
    cpuacct: Option<String>,
    cpu: Option<String>,
    cpuset: Option<String>,
    memory: Option<String>,
    blkio: Option<String>,
}

impl Mounts {
    /// Lines of proc(5)'s mountinfo: `41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw`.
    fn parse(bytes: &[u8]) -> Self {
        let mut mounts = Self::default();
        for line in lines(bytes) {
            let Some(place) = fields(line).nth(4) else { continue };
            let mut rest = fields(line).skip_while(|word| *word != b"-").skip(1);
            let (kind, options) = (rest.next(), rest.nth(1).unwrap_or_default());
            // A folder that is bound elsewhere shows a part only: the first one is the whole.
            let keep = |at: &mut Option<String>| {
                at.get_or_insert_with(|| unescape(place));
            };
            match kind {
                Some(b"cgroup2") => keep(&mut mounts.unified),
                Some(b"cgroup") => {
                    for option in options.split(|byte| *byte == b',') {
                        match option {
                            b"cpuacct" => keep(&mut mounts.cpuacct),
                            b"cpu" => keep(&mut mounts.cpu),
                            b"cpuset" => keep(&mut mounts.cpuset),
                            b"memory" => keep(&mut mounts.memory),
                            b"blkio" => keep(&mut mounts.blkio),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        mounts
    }
}

/// White space and backslashes stand as `\040` in mountinfo.
fn unescape(place: &[u8]) -> String {
    let mut plain = Vec::with_capacity(place.len());
    let mut rest = place;
    while let Some((&byte, after)) = rest.split_first() {
        let code = (byte == b'\\').then(|| after.split_at_checked(3)).flatten();
        let code = code.and_then(|(digits, after)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 8).ok()?, after))
        });
        let (byte, after) = code.unwrap_or((byte, after));
        plain.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    const MOUNTS: &[u8] = b"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
        35 31 0:32 / /sys/fs/cgroup/my\\040mem rw - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn mounts_are_found() {
        let mounts = Mounts::parse(MOUNTS);
        assert_eq!(mounts.unified.as_deref(), Some("/sys/fs/cgroup/unified"));
        assert_eq!(mounts.cpuacct.as_deref(), Some("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(mounts.cpu, mounts.cpuacct);
        assert_eq!(mounts.cpuset.as_deref(), Some("/sys/fs/cgroup/cpuset"));
        assert_eq!(mounts.memory.as_deref(), Some("/sys/fs/cgroup/my mem"));
        assert_eq!(mounts.blkio, None);
    }

    #[test]
    fn hostile_input() {
        survives(MOUNTS, |bytes| {
            let _ = Mounts::parse(bytes);
        });
    }
}
