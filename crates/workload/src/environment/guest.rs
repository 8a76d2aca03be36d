//! Whether this machine is virtual, as far as its processor tells.

/// The hypervisor's or emulator's name, from CPUID leaf 0x4000_0000 or, for a Xen PV domain (whose
/// CPUID is the host's), from `/sys/hypervisor`.
pub fn accelerator() -> Option<String> {
    super::line("/sys/hypervisor/type").or_else(by_cpuid)
}

#[cfg(target_arch = "x86_64")]
fn by_cpuid() -> Option<String> {
    use raw_cpuid::{CpuId, Hypervisor};
    let found = CpuId::new().get_hypervisor_info()?.identify();
    Some(match found {
        Hypervisor::Xen => "xen".to_owned(),
        Hypervisor::VMware => "vmware".to_owned(),
        Hypervisor::HyperV => "hyper-v".to_owned(),
        Hypervisor::KVM => "kvm".to_owned(),
        Hypervisor::QEMU => "tcg".to_owned(),
        Hypervisor::Bhyve => "bhyve".to_owned(),
        Hypervisor::QNX => "qnx".to_owned(),
        Hypervisor::ACRN => "acrn".to_owned(),
        Hypervisor::Unknown(ebx, ecx, edx) => {
            let bytes: Vec<u8> = [ebx, ecx, edx].iter().flat_map(|r| r.to_le_bytes()).collect();
            String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned()
        }
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn by_cpuid() -> Option<String> {
    None
}
