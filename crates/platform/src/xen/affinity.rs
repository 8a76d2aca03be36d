//! The CPUs that a vCPU may run on (hard affinity), read and set in the running Xen.

use super::abi::{self, Physical};
use super::hypercall::{Call, CallError, Hypervisor};
use super::{connect, is_here, release, understand};
use crate::OpenError;
use crate::host::Tree;
use model::Cpus;
use std::path::Path;

/// The running Xen, for its vCPUs' affinities.
pub(crate) struct Affinities {
    xen: Box<dyn Hypervisor>,
    physical: Physical,
}

/// Why an affinity was not read or set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AffinityError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Call(#[from] CallError),
}

impl AffinityError {
    /// Whether there is no such domain or vCPU (any more).
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Call(CallError::Gone(_)))
    }
}

impl Affinities {
    /// Opens the Xen whose control domain this is.
    pub(crate) fn open() -> Result<Self, AffinityError> {
        let tree = Tree::open(Path::new("/")).map_err(|error| OpenError::Unusable {
            what: "/".to_owned(),
            why: error.to_string(),
            action: "check its permissions",
        })?;
        if !is_here(&tree) {
            return Err(OpenError::NotHere {
                wanted: "Xen",
                looked_for: format!("\"control_d\" in {}", super::CAPABILITIES),
            }
            .into());
        }
        let mut xen = connect(&tree)?;
        let (_, physical) = understand(xen.as_mut(), release(&tree)?)?;
        Ok(Self { xen, physical })
    }

    /// The CPUs that Xen knows.
    pub(crate) fn cpus(&self) -> Cpus {
        Cpus::up_to(self.physical.max_cpu)
    }

    /// A vCPU's CPUs, as a list and as Xen's own bitmap, which may name CPUs that are not there.
    pub(crate) fn get(
        &mut self,
        domain: u16,
        vcpu: u32,
    ) -> Result<(String, Vec<u8>), AffinityError> {
        let answer = self.xen.ask(Call::Affinity { domain, vcpu })?;
        let bitmap = answer.data.get(..abi::BITMAP_LEN).unwrap_or(answer.data);
        Ok((abi::cpu_list(bitmap, self.physical.max_cpu), bitmap.to_vec()))
    }

    /// Gives a vCPU the CPUs of a bitmap.
    pub(crate) fn set(
        &mut self,
        domain: u16,
        vcpu: u32,
        bitmap: &[u8],
    ) -> Result<(), AffinityError> {
        Ok(self.xen.set_affinity(domain, vcpu, bitmap)?)
    }
}
