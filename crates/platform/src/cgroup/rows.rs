//! Which control groups get a row.

use super::name;
use crate::host::Tree;
use std::collections::HashSet;
use std::num::NonZeroU8;
use std::str::FromStr;

/// Rows are groups this deep: `/system.slice/nginx.service`, `/docker/ID`.
const DEPTH: usize = 2;
/// Below `/kubepods…`, containers are in pods in classes of service.
const DEPTH_IN_PODS: usize = 4;
/// Groups below this depth are not looked for.
const MAX_DEPTH: usize = 32;

/// Which control groups get a row. Whichever it is, no group is in two rows: a row has all that
/// is below it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum GroupRows {
    /// Each container and each job of a batch system, at any depth, the outermost one where
    /// they are nested; beside them groups two levels deep, or deeper where a container is
    /// below these.
    #[default]
    Automatic,
    /// Groups this many levels deep, and shallower ones with nothing below them.
    Depth(NonZeroU8),
    /// The outermost groups whose path matches one of the patterns.
    Matching(Vec<GroupPattern>),
}

/// A pattern of control groups' paths: `*` and `?` stand for characters of one component, `**`
/// for any number of components.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPattern(Vec<String>);

impl FromStr for GroupPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.strip_prefix('/').ok_or("expected a path that starts with `/`")?;
        let parts: Vec<String> =
            parts.trim_end_matches('/').split('/').map(str::to_owned).collect();
        if parts.iter().any(String::is_empty) {
            return Err("expected a group below the root, as /system.slice/*");
        }
        if parts.len() > MAX_DEPTH {
            return Err("too many components");
        }
        Ok(Self(parts))
    }
}

impl GroupPattern {
    /// Whether the group at `path` (`/a/b`) matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let pattern: Vec<&str> = self.0.iter().map(String::as_str).collect();
        let any = |part: &str| part == "**";
        wild(&pattern, &path, any, |part, name| {
            let (part, name): (Vec<char>, Vec<char>) =
                (part.chars().collect(), name.chars().collect());
            wild(&part, &name, |c| c == '*', |c, d| c == '?' || c == d)
        })
    }
}

/// Whether `pattern` stands for `items`, where an element that is `any` stands for any number
/// of them, in time proportional to the product of their lengths.
fn wild<P: Copy, T: Copy>(
    pattern: &[P],
    items: &[T],
    any: impl Fn(P) -> bool,
    fits: impl Fn(P, T) -> bool,
) -> bool {
    let (mut at, mut item, mut back) = (0, 0, None);
    while let Some(&here) = items.get(item) {
        match pattern.get(at) {
            Some(&part) if any(part) => {
                back = Some((at, item));
                at += 1;
            }
            Some(&part) if fits(part, here) => (at, item) = (at + 1, item + 1),
            // The last element that stands for any number takes one more.
            _ => match back {
                Some((from, taken)) => {
                    back = Some((from, taken + 1));
                    (at, item) = (from + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|&part| any(part))
}

/// A group that gets a row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub path: String,
    /// The paths of all groups below it, whose processes are its own.
    pub inside: Vec<String>,
}

/// The groups below `root` that get a row, by their paths. `vms` are those of VMs: they get none, nor
/// does a group that holds one.
pub(super) fn find(tree: &Tree, root: &str, rows: &GroupRows, vms: &HashSet<String>) -> Vec<Row> {
    let mut found = Vec::new();
    for top in folders(tree, root, "") {
        let automatic = if top.starts_with("/kubepods") { DEPTH_IN_PODS } else { DEPTH };
        let group = Group::read(tree, root, top, vms, MAX_DEPTH);
        match rows {
            GroupRows::Automatic => group.automatic(automatic - 1, &mut found),
            GroupRows::Depth(depth) => group.deep(usize::from(depth.get()) - 1, &mut found),
            GroupRows::Matching(patterns) => group.matching(patterns, &mut found),
        }
    }
    found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    found
}

/// A group with those below it.
struct Group {
    path: String,
    /// It is a container or a job.
    container: bool,
    /// It is one, or holds one.
    holds: bool,
    /// It is a VM's, or holds one that is.
    holds_vm: bool,
    below: Vec<Group>,
}

impl Group {
    fn read(tree: &Tree, root: &str, path: String, vms: &HashSet<String>, deeper: usize) -> Self {
        let container = name::container(&path).is_some();
        // What is below a VM's group is its threads'.
        let vm = vms.contains(&path);
        let folders = if deeper == 0 || vm { Vec::new() } else { folders(tree, root, &path) };
        let read = |path| Self::read(tree, root, path, vms, deeper - 1);
        let below: Vec<Self> = folders.into_iter().map(read).collect();
        let holds = container || below.iter().any(|group| group.holds);
        let holds_vm = vm || below.iter().any(|group| group.holds_vm);
        Self { path, container, holds, holds_vm, below }
    }

    /// This group, or what is below it, `deeper` levels down and as far as containers are.
    fn automatic(self, deeper: usize, found: &mut Vec<Row>) {
        let descends = deeper > 0 || self.holds;
        if !self.holds_vm && (self.container || self.below.is_empty() || !descends) {
            found.push(self.row());
        } else {
            let deeper = deeper.saturating_sub(1);
            self.below.into_iter().for_each(|group| group.automatic(deeper, found));
        }
    }

    /// This group if nothing is below it, else what is below it, `deeper` levels down.
    fn deep(self, deeper: usize, found: &mut Vec<Row>) {
        if !self.holds_vm && (deeper == 0 || self.below.is_empty()) {
            found.push(self.row());
        } else {
            let deeper = deeper.saturating_sub(1);
            self.below.into_iter().for_each(|group| group.deep(deeper, found));
        }
    }

    fn matching(self, patterns: &[GroupPattern], found: &mut Vec<Row>) {
        if !self.holds_vm && patterns.iter().any(|pattern| pattern.matches(&self.path)) {
            found.push(self.row());
        } else {
            self.below.into_iter().for_each(|group| group.matching(patterns, found));
        }
    }

    fn row(self) -> Row {
        let mut inside = Vec::new();
        self.below.into_iter().for_each(|group| group.flatten(&mut inside));
        Row { path: self.path, inside }
    }

    fn flatten(self, paths: &mut Vec<String>) {
        paths.push(self.path);
        self.below.into_iter().for_each(|group| group.flatten(paths));
    }
}

/// The groups right below `path`.
fn folders(tree: &Tree, root: &str, path: &str) -> Vec<String> {
    tree.folders(&format!("{root}{path}"))
        .unwrap_or_default()
        .into_iter()
        .map(|name| format!("{path}/{name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    fn tree(paths: &[&str]) -> (tempfile::TempDir, Tree) {
        let place = tempfile::tempdir().unwrap();
        for path in paths {
            std::fs::create_dir_all(place.path().join("cg").join(&path[1..])).unwrap();
        }
        let tree = Tree::open(place.path()).unwrap();
        (place, tree)
    }

    #[test]
    fn no_group_is_in_two_rows() {
        let id = "0123456789abcdef".repeat(4);
        let pod =
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope");
        let paths = [
            "/init.scope",
            "/system.slice/nginx.service/workers",
            "/system.slice/slurmstepd.scope/job_7/step_0/user/task_0",
            "/system.slice/slurmstepd.scope/system",
            "/user.slice/user-1000.slice/session-1.scope",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/x.service",
            &format!("{pod}/container/init.scope"),
            "/user.slice/user-1001.slice/session-2.scope",
        ];
        let (_place, tree) = tree(&paths);
        let find = |rows| {
            let found = find(&tree, "/cg", &rows, &HashSet::new());
            found.into_iter().map(|row| row.path).collect::<Vec<_>>()
        };
        let found = find(GroupRows::Automatic);
        let expected = [
            "/init.scope",
            "/system.slice/nginx.service",
            "/system.slice/slurmstepd.scope/job_7",
            "/system.slice/slurmstepd.scope/system",
            "/user.slice/user-1000.slice/session-1.scope",
            "/user.slice/user-1000.slice/user@1000.service/app.slice",
            &pod,
            "/user.slice/user-1001.slice",
        ];
        assert_eq!(found, expected);
        let one = find(GroupRows::Depth(NonZeroU8::MIN));
        assert_eq!(one, ["/init.scope", "/system.slice", "/user.slice"]);
        let three = find(GroupRows::Depth(NonZeroU8::new(3).unwrap()));
        assert!(three.contains(&"/system.slice/nginx.service/workers".to_owned()));
        let steps = vec!["/**/job_*/step_?".parse().unwrap(), "/user.slice".parse().unwrap()];
        let found = find(GroupRows::Matching(steps));
        assert_eq!(found, ["/system.slice/slurmstepd.scope/job_7/step_0", "/user.slice"]);
    }

    #[test]
    fn a_vms_group_has_no_row_and_those_beside_it_have() {
        let paths = [
            "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/vcpu0",
            "/system.slice/nginx.service",
            "/user.slice/user-1000.slice/session-1.scope",
            "/user.slice/user-1000.slice/user@1000.service",
        ];
        let (_place, tree) = tree(&paths);
        let vms = HashSet::from([
            "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope".to_owned(),
            "/user.slice/user-1000.slice/session-1.scope".to_owned(),
        ]);
        let find = |rows: &GroupRows| {
            let found = find(&tree, "/cg", rows, &vms);
            found.into_iter().map(|row| row.path).collect::<Vec<_>>()
        };
        let beside =
            ["/system.slice/nginx.service", "/user.slice/user-1000.slice/user@1000.service"];
        assert_eq!(find(&GroupRows::Automatic), beside);
        let whole = ["/system.slice", "/user.slice/user-1000.slice/user@1000.service"];
        assert_eq!(find(&GroupRows::Depth(NonZeroU8::MIN)), whole);
        let all = GroupRows::Matching(vec!["/*".parse().unwrap()]);
        assert_eq!(find(&all), ["/system.slice"]);
    }

    #[test]
    fn patterns_of_paths() {
        let matches = |pattern: &str, path| pattern.parse::<GroupPattern>().unwrap().matches(path);
        assert!(matches("/a/*", "/a/b") && !matches("/a/*", "/a/b/c") && !matches("/a/*", "/a"));
        assert!(matches("/**/c", "/a/b/c") && matches("/**/c", "/c") && matches("/a/**", "/a/b/c"));
        assert!(matches("/j*_?", "/job_1") && !matches("/j*_?", "/job_12"));
        assert!(!matches("/*a*a*a*a*b", &format!("/{}", "a".repeat(200))));
        for wrong in ["", "/", "a", "//", "/a//b"] {
            assert!(wrong.parse::<GroupPattern>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn hostile_input() {
        survives(b"/**/a*b?/c", |bytes| {
            let text = String::from_utf8_lossy(bytes);
            if let Ok(pattern) = text.parse::<GroupPattern>() {
                let _ = pattern.matches(&text) || pattern.matches("/a/b/c");
            }
        });
    }
}
