//! Kernel modules: found in a package's tree, unpacked, and put into loading order.
//!
//! A package has no modules.dep (depmod writes it on installation), so the order comes from what
//! each module says of itself in its .modinfo.

use files::failed;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::PathBuf;

use crate::elf;
use crate::error::LabError;
use crate::kernel;
use crate::tree::Tree;

/// A module ready to be loaded.
pub(crate) struct Module {
    /// Its file's name in the image.
    pub(crate) file: String,
    /// The uncompressed .ko.
    pub(crate) contents: Vec<u8>,
}

/// The modules of one kernel, by normalized name.
pub(crate) struct Modules {
    found: BTreeMap<String, PathBuf>,
    builtin: HashSet<String>,
    suite: String,
}

impl Modules {
    /// Looks for the modules of the one kernel in a tree.
    pub(crate) fn of(tree: &Tree) -> Result<Self, LabError> {
        let mut found = BTreeMap::new();
        let mut builtin = HashSet::new();
        for (name, path) in tree.files().filter(|(name, _)| name.starts_with("usr/lib/modules/")) {
            if let Some(module) = module_name(name) {
                found.insert(module, path.clone());
            } else if name.ends_with("/modules.builtin") {
                let text = fs::read_to_string(path).map_err(failed("read", path))?;
                builtin.extend(text.lines().filter_map(module_name));
            }
        }
        Ok(Modules { found, builtin, suite: tree.suite().to_owned() })
    }

    /// The wanted modules and all they depend on, dependencies first. What the kernel has built in
    /// is left out.
    pub(crate) fn in_order(&self, wanted: &[&str]) -> Result<Vec<Module>, LabError> {
        let mut loaded = BTreeMap::new();
        let order = order(wanted, &mut |name| {
            if self.builtin.contains(name) {
                return Ok(Vec::new());
            }
            let path = self.found.get(name).ok_or_else(|| LabError::Missing {
                what: format!("kernel module {name}"),
                suite: self.suite.clone(),
            })?;
            let packed = fs::read(path).map_err(failed("read", path))?;
            let contents = kernel::unpacked(path, &packed)?;
            let info = elf::modinfo(&contents)
                .ok_or_else(|| LabError::format(path, "not a kernel module: it has no .modinfo"))?;
            loaded.insert(name.to_owned(), contents);
            Ok(depends(&info))
        })?;
        let take = |name: String| {
            let contents = loaded.remove(&name)?;
            Some(Module { file: format!("{name}.ko"), contents })
        };
        Ok(order.into_iter().filter_map(take).collect())
    }
}

/// Every name once, each after what it depends on. A circle is broken where it closes.
fn order(
    wanted: &[&str],
    depends: &mut dyn FnMut(&str) -> Result<Vec<String>, LabError>,
) -> Result<Vec<String>, LabError> {
    fn visit(
        name: &str,
        seen: &mut HashSet<String>,
        order: &mut Vec<String>,
        depends: &mut dyn FnMut(&str) -> Result<Vec<String>, LabError>,
    ) -> Result<(), LabError> {
        if !seen.insert(name.to_owned()) {
            return Ok(());
        }
        for needed in depends(name)? {
            visit(&needed, seen, order, depends)?;
        }
        order.push(name.to_owned());
        Ok(())
    }
    let (mut seen, mut found) = (HashSet::new(), Vec::new());
    for name in wanted {
        visit(&normalized(name), &mut seen, &mut found, depends)?;
    }
    Ok(found)
}

/// What a module needs first: hard dependencies, then those it merely prefers (softdep pre) are
/// left to the caller's list, since they may be absent.
fn depends(info: &[(String, String)]) -> Vec<String> {
    let lists = info.iter().filter(|(key, _)| key == "depends");
    let names = lists.flat_map(|(_, list)| list.split(',')).filter(|name| !name.is_empty());
    names.map(normalized).collect()
}

/// The kernel treats - and _ in module names alike.
fn normalized(name: &str) -> String {
    name.replace('-', "_")
}

/// The module's name, if the file is one.
fn module_name(file: &str) -> Option<String> {
    let name = file.rsplit('/').next()?;
    let stem = name.strip_suffix(".ko").or_else(|| name.strip_suffix(".ko.xz"))?;
    Some(normalized(stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first_and_once() {
        let mut table = |name: &str| {
            Ok(match name {
                "bridge" => vec!["stp".to_owned(), "llc".to_owned()],
                "stp" => vec!["llc".to_owned()],
                "tun" => vec!["tun".to_owned()],
                _ => Vec::new(),
            })
        };
        let order = order(&["bridge", "kvm-amd", "tun", "llc"], &mut table).unwrap();
        assert_eq!(order, ["llc", "stp", "bridge", "kvm_amd", "tun"]);
    }

    #[test]
    fn names_are_those_of_the_kernel() {
        assert_eq!(module_name("a/b/xen-netback.ko.xz").as_deref(), Some("xen_netback"));
        assert_eq!(module_name("kernel/kvm-amd.ko").as_deref(), Some("kvm_amd"));
        assert_eq!(module_name("modules.builtin"), None);
        let info = [("depends".to_owned(), "kvm,ccp,".to_owned())];
        assert_eq!(depends(&info), ["kvm", "ccp"]);
    }
}
