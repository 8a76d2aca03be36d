//! What xenstore tells of domains, kept between readings: names, who serves whom.

use super::abi::DomainInfo;
use super::store::Store;
use model::Nanos;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// How long what xenstore told is believed while the domains stay the same.
const LIFETIME: Nanos = Nanos(10_000_000_000);

/// A device of a domain that a domain other than Domain-0 serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    /// The domain that has the device.
    pub(crate) domain: u16,
    /// The domain that serves it.
    pub(crate) driver: u16,
    /// `vif`, `vbd`…
    pub(crate) kind: String,
    /// The device's number.
    pub(crate) device: String,
}

/// What tells one domain from every other.
pub(crate) type Key = (u16, [u8; 16]);

/// What xenstore told last.
#[derive(Debug, Default)]
pub(crate) struct Names {
    names: BTreeMap<Key, String>,
    /// Devices that are not served by Domain-0.
    pub(crate) elsewhere: Vec<Elsewhere>,
    /// tapdisk processes and whom they serve.
    pub(crate) tapdisks: BTreeMap<u32, u16>,
    domains: Vec<Key>,
    read_at: Option<Nanos>,
    /// xenstore failed, perhaps after a long wait: it is left alone until then.
    quiet_until: Nanos,
}

impl Names {
    /// Reads again what may have changed; true where the set of domains changed or so much
    /// time has passed that everything should be looked at again.
    pub(crate) fn refresh(
        &mut self,
        store: Option<&mut (dyn Store + '_)>,
        domains: &[DomainInfo],
        now: Nanos,
    ) -> bool {
        let keys = domains.iter().map(|domain| (domain.id, domain.handle));
        let changed = !keys.clone().eq(self.domains.iter().copied());
        let stale = self.read_at.is_none_or(|at| now.saturating_sub(at) >= LIFETIME);
        if changed {
            self.domains = keys.collect();
            let present: BTreeSet<Key> = self.domains.iter().copied().collect();
            self.names.retain(|key, _| present.contains(key));
        }
        // A domain is born before its toolstack names it.
        let unnamed = self.names.len() < self.domains.len();
        let wanted = (changed || stale || unnamed) && now >= self.quiet_until;
        if let Some(store) = store.filter(|_| wanted) {
            let all = changed || stale;
            // A store that fails half way leaves what was known before.
            if self.read(store, all).is_err() {
                self.quiet_until = now + LIFETIME;
            }
            if all {
                self.read_at = Some(now);
            }
        }
        changed || stale
    }

    /// Believes nothing of what is known any longer.
    pub(crate) fn forget(&mut self) {
        self.read_at = None;
    }

    fn read(&mut self, store: &mut dyn Store, all: bool) -> io::Result<()> {
        for key in &self.domains {
            if !all && self.names.contains_key(key) {
                continue;
            }
            if let Some(name) = store.read(&format!("/local/domain/{}/name", key.0))? {
                self.names.insert(*key, String::from_utf8_lossy(&name).into_owned());
            }
        }
        if all {
            let (elsewhere, tapdisks) = (self.served_elsewhere(store)?, read_tapdisks(store)?);
            (self.elsewhere, self.tapdisks) = (elsewhere, tapdisks);
        }
        Ok(())
    }

    /// Walks the backends of every domain but Domain-0. The frontends' own entries would tell
    /// as well, but a guest can write what it likes there.
    fn served_elsewhere(&self, store: &mut dyn Store) -> io::Result<Vec<Elsewhere>> {
        let ids: BTreeSet<u16> = self.domains.iter().map(|key| key.0).collect();
        let mut found = Vec::new();
        for &driver in ids.iter().filter(|id| **id != 0) {
            let backend = format!("/local/domain/{driver}/backend");
            for kind in store.list(&backend)? {
                if kind != "vif" && kind != "vbd" {
                    continue;
                }
                for domain in store.list(&format!("{backend}/{kind}"))? {
                    let Some(id) = domain.parse().ok().filter(|id| ids.contains(id)) else {
                        continue;
                    };
                    let devices = store.list(&format!("{backend}/{kind}/{domain}"))?;
                    found.extend(devices.into_iter().map(|device| Elsewhere {
                        domain: id,
                        driver,
                        kind: kind.clone(),
                        device,
                    }));
                }
            }
        }
        Ok(found)
    }

    /// A domain's name, raw; one that nobody named is called by its number.
    pub(crate) fn name(&self, domain: &DomainInfo) -> String {
        match self.names.get(&(domain.id, domain.handle)) {
            Some(name) => name.clone(),
            None if domain.id == 0 => "Domain-0".to_owned(),
            None => format!("domain {}", domain.id),
        }
    }
}

/// The tapdisk processes of XenServer and XCP-ng (blktap3): tapback writes their pid as
/// `kthread-pid` into the backend that they serve.
fn read_tapdisks(store: &mut dyn Store) -> io::Result<BTreeMap<u32, u16>> {
    let mut pids = BTreeMap::new();
    for kind in ["vbd3", "tap"] {
        let backend = format!("/local/domain/0/backend/{kind}");
        for domain in store.list(&backend)? {
            let Ok(id) = domain.parse() else { continue };
            for device in store.list(&format!("{backend}/{domain}"))? {
                let pid = store.read(&format!("{backend}/{domain}/{device}/kthread-pid"))?;
                let pid = pid.and_then(|pid| std::str::from_utf8(&pid).ok()?.trim().parse().ok());
                pids.extend(pid.map(|pid: u32| (pid, id)));
            }
        }
    }
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use super::super::store::Recorded;
    use super::*;

    fn domain(id: u16, handle: u8) -> DomainInfo {
        let mut entry = [0; 112];
        entry[..2].copy_from_slice(&id.to_le_bytes());
        entry[76] = handle;
        DomainInfo::decode(&entry).expect("a whole entry")
    }

    #[test]
    fn a_domain_that_reuses_a_number_has_its_own_name() {
        let mut names = Names::default();
        let mut store = Recorded::parse("/local/domain/1/name = web\n");
        assert!(names.refresh(Some(&mut store), &[domain(1, 1)], Nanos(1)));
        assert_eq!(names.name(&domain(1, 1)), "web");
        assert!(!names.refresh(Some(&mut store), &[domain(1, 1)], Nanos(2)), "nothing new");
        let mut store = Recorded::parse("");
        assert!(names.refresh(Some(&mut store), &[domain(1, 2)], Nanos(3)));
        assert_eq!(names.name(&domain(1, 2)), "domain 1");
        let mut store = Recorded::parse("/local/domain/1/name = mail\n");
        assert!(!names.refresh(Some(&mut store), &[domain(1, 2)], Nanos(4)));
        assert_eq!(names.name(&domain(1, 2)), "mail", "named after it was born");
    }

    #[test]
    fn a_rename_is_seen_after_a_while() {
        let mut names = Names::default();
        let mut store = Recorded::parse("/local/domain/1/name = web\n");
        names.refresh(Some(&mut store), &[domain(1, 1)], Nanos(1));
        let mut store = Recorded::parse("/local/domain/1/name = shop\n");
        names.refresh(Some(&mut store), &[domain(1, 1)], Nanos(2));
        assert_eq!(names.name(&domain(1, 1)), "web");
        names.refresh(Some(&mut store), &[domain(1, 1)], Nanos(2 + LIFETIME.0));
        assert_eq!(names.name(&domain(1, 1)), "shop");
    }

    #[test]
    fn a_driver_domain_is_found_by_the_backends_it_has() {
        let mut names = Names::default();
        let mut store = Recorded::parse(
            "/local/domain/2/backend/vif/3/0/mac = 00:16:3e:00:00:01\n\
             /local/domain/2/backend/vif/9/0/mac = 00:16:3e:00:00:02\n\
             /local/domain/0/backend/vbd3/3/51712/kthread-pid = 812\n",
        );
        names.refresh(Some(&mut store), &[domain(0, 0), domain(2, 2), domain(3, 3)], Nanos(1));
        let device = "0".to_owned();
        let expected = Elsewhere { domain: 3, driver: 2, kind: "vif".into(), device };
        assert_eq!(names.elsewhere, [expected], "domain 9 does not exist");
        assert_eq!(names.tapdisks, BTreeMap::from([(812, 3)]));
    }
}
