//! What a controller sets on an agent's machine. It is undone when its connection ends.

use crate::journal::Journal;
use crate::undo::Undo;
use platform::Source;
use platform::host::Tree;
use platform::tune::{self, Placed, TuneError};
use serde::{Deserialize, Serialize};
use std::path::Path;
use workload::Feature;

/// Settings that a connection may make in its life.
const MOST: usize = 1000;

/// Something to set; it crosses the wire as JSON, the form that plans are written in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Setting {
    /// The CPUs of every interrupt whose action in /proc/interrupts has this part.
    Irq {
        /// A part of the action between ends of words: `eth1`, `vif1.0`, `virtio1-input`.
        matching: String,
        /// CPUs, as `0-3,8`.
        cpus: String,
    },
    /// The CPUs of the host on which a VM's vCPUs may run.
    Pin {
        /// The VM's name, on Xen `Domain-0` too.
        vm: String,
        /// This vCPU alone.
        #[serde(default)]
        vcpu: Option<u32>,
        /// CPUs, as `0-3,8`.
        cpus: String,
    },
    /// The CPUs of the threads and processes that serve a VM alone, its vCPUs apart.
    Backend {
        /// The VM's name.
        vm: String,
        /// CPUs, as `0-3,8`.
        cpus: String,
    },
    /// An offload of a network device.
    Offload {
        /// The device, in the agent's network namespace.
        device: String,
        /// Which.
        feature: Feature,
        /// Whether it shall be on.
        on: bool,
    },
}

/// One thing that a setting changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// What it is (`interrupt 38 (eth1-rx-0)`), names from outside in it being raw.
    pub what: String,
    /// How it was before: CPUs as Linux lists them, `on`, `off`.
    pub was: String,
    /// How it is now: an interrupt's device may use fewer CPUs than it was given.
    pub now: String,
}

/// All that a connection has set, in order.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    undo: Vec<Undo>,
    made: usize,
    journal: Journal,
}

impl Settings {
    /// Makes a setting, and remembers how it was.
    pub(crate) fn set(
        &mut self,
        setting: &Setting,
        root: &Path,
        source: &mut Result<Box<dyn Source>, String>,
    ) -> Result<Vec<Changed>, String> {
        if self.made >= MOST {
            return Err(format!("a connection makes at most {MOST} settings"));
        }
        self.made += 1;
        let tree = Tree::open(root).map_err(|error| error.to_string())?;
        let first = self.undo.len();
        let (undo, journal) = (&mut self.undo, &self.journal);
        let note = &mut |placed: &[Placed]| {
            undo.extend(placed.iter().cloned().map(Undo::Placed));
            journal.write(undo)
        };
        let placed = match setting {
            Setting::Irq { matching, cpus } => tune::place_interrupts(&tree, matching, cpus, note),
            Setting::Pin { vm, vcpu, cpus } => {
                tune::pin(&tree, opened(source)?, vm, *vcpu, cpus, note)
            }
            Setting::Backend { vm, cpus } => {
                tune::place_backends(&tree, opened(source)?, vm, cpus, note)
            }
            Setting::Offload { device, feature, on } => {
                return self.offload(&tree, device, *feature, *on);
            }
        };
        match placed {
            Ok(placed) => Ok(placed.into_iter().map(changed).collect()),
            // What stays changed is tried again at the end.
            Err(error @ TuneError::Left { .. }) => Err(error.to_string()),
            Err(error) => Err(self.forget(first, error.to_string())),
        }
    }

    fn offload(
        &mut self,
        tree: &Tree,
        device: &str,
        feature: Feature,
        on: bool,
    ) -> Result<Vec<Changed>, String> {
        if !tree.is_live() {
            return Err(TuneError::Saved.to_string());
        }
        let was = feature.is_on(device).map_err(|error| error.to_string())?;
        let word = |on: bool| if on { "on" } else { "off" }.to_owned();
        let what = format!("{} of {device}", feature.word());
        let first = self.undo.len();
        self.undo.push(Undo::Offload { device: device.to_owned(), feature, was });
        let set = self
            .journal
            .write(&self.undo)
            .and_then(|()| feature.set(device, on).map_err(|error| error.to_string()));
        match set {
            Ok(_) => Ok(vec![Changed { what, was: word(was), now: word(on) }]),
            Err(why) => Err(self.forget(first, why)),
        }
    }

    /// What was noted from `first` on was not set; why.
    fn forget(&mut self, first: usize, why: String) -> String {
        self.undo.truncate(first);
        let not_written = self.journal.write(&self.undo).err();
        [Some(why), not_written].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    /// Undoes everything, the last first; what could not be undone, and why.
    pub(crate) fn restore(&mut self) -> Vec<String> {
        let mut failed = Vec::new();
        while let Some(undo) = self.undo.pop() {
            failed.extend(undo.undo().err());
        }
        failed.extend(self.journal.write(&[]).err());
        failed
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        // The one who ends a connection in order has undone all of it, and told what failed.
        self.restore();
    }
}

fn changed(placed: Placed) -> Changed {
    let Placed { what, was, now, .. } = placed;
    Changed { what, was, now }
}

fn opened(source: &mut Result<Box<dyn Source>, String>) -> Result<&mut dyn Source, String> {
    match source {
        Ok(source) => Ok(source.as_mut()),
        Err(error) => Err(error.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_can_name_settings() {
        let texts = [
            r#"{"kind": "irq", "matching": "eth1", "cpus": "0-3"}"#,
            r#"{"kind": "pin", "vm": "Domain-0", "cpus": "0"}"#,
            r#"{"kind": "pin", "vm": "web", "vcpu": 1, "cpus": "2"}"#,
            r#"{"kind": "backend", "vm": "web", "cpus": "1"}"#,
            r#"{"kind": "offload", "device": "eth0", "feature": "rx-checksum", "on": false}"#,
        ];
        for text in texts {
            let setting: Setting = serde_json::from_str(text).unwrap();
            let again = serde_json::to_string(&setting).unwrap();
            assert_eq!(serde_json::from_str::<Setting>(&again).unwrap(), setting);
        }
        for wrong in [r#"{"kind": "irq"}"#, r#"{"kind": "pin", "vm": "a", "cpu": "0"}"#, "7"] {
            assert!(serde_json::from_str::<Setting>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_saved_tree_is_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (device, feature) = ("lo".to_owned(), Feature::Gro);
        let setting = Setting::Offload { device, feature, on: true };
        let refused = Settings::default().set(&setting, folder.path(), &mut Err(String::new()));
        assert!(refused.unwrap_err().contains("saved tree"));
    }
}
