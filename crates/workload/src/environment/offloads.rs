//! What a network device does for the protocol stack: it decides what a packet costs.

use crate::socket::{self, Feature};
use serde::{Deserialize, Serialize};

/// Offloads of a device, as `ethtool -k` shows them; `None` where the device does not tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offloads {
    /// The device's name.
    pub device: String,
    /// Largest IP packet it sends, in bytes.
    pub mtu: Option<u32>,
    /// Checksums of what is sent (tx-checksumming).
    pub tx_checksum: Option<bool>,
    /// Checksums of what is received (rx-checksumming).
    pub rx_checksum: Option<bool>,
    /// Segmentation of TCP by the device (TSO).
    pub tso: Option<bool>,
    /// Segmentation just before the device (GSO).
    pub gso: Option<bool>,
    /// Merging of received segments (GRO).
    pub gro: Option<bool>,
}

impl Offloads {
    /// Those of `device`; `None` where there is no such device in this network namespace.
    #[must_use]
    pub fn of(device: &str) -> Option<Self> {
        // Every device has one.
        let mtu = socket::device_mtu(device).ok()?;
        let feature = |feature| socket::device_feature(device, feature).ok();
        Some(Self {
            device: device.to_owned(),
            mtu: Some(mtu),
            tx_checksum: feature(Feature::TxChecksum),
            rx_checksum: feature(Feature::RxChecksum),
            tso: feature(Feature::Tso),
            gso: feature(Feature::Gso),
            gro: feature(Feature::Gro),
        })
    }
}
