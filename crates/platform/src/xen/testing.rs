//! A Xen made up for tests: its record, in the layout of any release.

use super::abi::{Interface, Release};
use crate::host::Tree;
use std::path::Path;

/// A domain of the made-up Xen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MadeDomain {
    pub(crate) id: u16,
    pub(crate) flags: u32,
    pub(crate) cpu: u64,
    /// vCPUs, all online; none is a domain without any.
    pub(crate) vcpus: u32,
}

/// A made-up Xen.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) release: Release,
    pub(crate) interface: Interface,
    pub(crate) stride: usize,
    pub(crate) domains: Vec<MadeDomain>,
    /// Idle time of each physical CPU; 0 is one that is offline.
    pub(crate) idle: Vec<u64>,
}

impl Made {
    /// Two CPUs, Domain-0 and two guests, in the release's own interface and layout.
    pub(crate) fn of(minor: u32) -> Self {
        let release = Release { major: 4, minor };
        let domain = |id, flags, cpu, vcpus| MadeDomain { id, flags, cpu, vcpus };
        Self {
            release,
            interface: release.interface(),
            stride: release.stride(),
            domains: vec![
                domain(0, 1 << 5, 7_000_000_000, 2),
                domain(1, 1 << 4, 5_000_000_000, 1),
                domain(4, 1 << 2 | 3 << 16, 3_000_000_000, 0),
            ],
            idle: vec![40_000_000_000, 41_000_000_000],
        }
    }

    /// Writes the tree that a capture of it would be.
    pub(crate) fn save(&self, folder: &Path) -> Tree {
        let put = |path: &str, bytes: &[u8]| {
            let to = folder.join(path);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::write(to, bytes).unwrap();
        };
        let Interface { sysctl, domctl } = self.interface;
        put("proc/xen/capabilities", b"control_d\n");
        put("sys/hypervisor/version/major", format!("{}\n", self.release.major).as_bytes());
        put("sys/hypervisor/version/minor", format!("{}\n", self.release.minor).as_bytes());
        put("sys/hypervisor/version/extra", b".5\n");
        put("xen/interface", format!("sysctl {sysctl:#x}\ndomctl {domctl:#x}\n").as_bytes());
        put("xen/physinfo.bin", &self.physical());
        let idle: Vec<u8> = self.idle.iter().flat_map(|idle| idle.to_le_bytes()).collect();
        put("xen/getcpuinfo.bin", &[head(self.idle.len()), idle].concat());
        let list = self.domains.iter().flat_map(|domain| self.entry(domain)).collect();
        put("xen/getdomaininfolist.bin", &[head(self.domains.len()), list].concat());
        for domain in &self.domains {
            for vcpu in 0..domain.vcpus {
                let cpu = domain.cpu / u64::from(domain.vcpus);
                let mut info = vec![0; 24];
                info[..4].copy_from_slice(&vcpu.to_le_bytes());
                info[4..7].copy_from_slice(&[1, u8::from(domain.id > 0), 0]);
                info[8..16].copy_from_slice(&cpu.to_le_bytes());
                put(&format!("xen/getvcpuinfo-{}-{vcpu}.bin", domain.id), &info);
                let affinity = [vec![0; 40], vec![0b11]].concat();
                put(&format!("xen/getvcpuaffinity-{}-{vcpu}.bin", domain.id), &affinity);
            }
        }
        put("xen/xenstore", b"/local/domain/0/name = Domain-0\n/local/domain/1/name = g1\n");
        Tree::open(folder).unwrap()
    }

    fn physical(&self) -> Vec<u8> {
        let cpus = u32::try_from(self.idle.len()).unwrap();
        let online = u32::try_from(self.idle.iter().filter(|idle| **idle > 0).count()).unwrap();
        let mut info = vec![0; 112];
        info[8..12].copy_from_slice(&online.to_le_bytes());
        info[12..16].copy_from_slice(&(cpus - 1).to_le_bytes());
        let pages = if self.interface.sysctl >= 0x15 { 40 } else { 32 };
        info[pages..pages + 8].copy_from_slice(&400_000_u64.to_le_bytes());
        info[pages + 8..pages + 16].copy_from_slice(&1000_u64.to_le_bytes());
        info
    }

    fn entry(&self, domain: &MadeDomain) -> Vec<u8> {
        let mut entry = vec![0; self.stride];
        let mut put = |at: usize, bytes: &[u8]| entry[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &domain.id.to_le_bytes());
        put(4, &domain.flags.to_le_bytes());
        put(8, &32_768_u64.to_le_bytes());
        put(16, &33_024_u64.to_le_bytes());
        put(56, &domain.cpu.to_le_bytes());
        put(64, &domain.vcpus.to_le_bytes());
        put(68, &domain.vcpus.wrapping_sub(1).to_le_bytes());
        put(76, &[u8::try_from(domain.id).unwrap(); 16]);
        entry
    }
}

/// The structure of a list's operation: the count stands at 16.
fn head(count: usize) -> Vec<u8> {
    let mut head = vec![0; 24];
    head[16..20].copy_from_slice(&u32::try_from(count).unwrap().to_le_bytes());
    head
}
