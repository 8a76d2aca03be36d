//! What a network device does for the protocol stack: it decides what a packet costs.

use crate::Error;
use crate::socket::{self, Command, FLAG_LRO};
use serde::{Deserialize, Serialize};
use std::io;

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

/// An offload by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// Segmentation of TCP by the device.
    Tso,
    /// Segmentation just before the device.
    Gso,
    /// Merging of received segments by the kernel.
    Gro,
    /// Merging of received segments by the device.
    Lro,
    /// Checksums of what is sent.
    TxChecksum,
    /// Checksums of what is received.
    RxChecksum,
    /// Packets that lie in several places of memory (scatter-gather), which TSO and GSO need.
    Sg,
}

impl Feature {
    /// The word for people and for JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Tso => "tso",
            Self::Gso => "gso",
            Self::Gro => "gro",
            Self::Lro => "lro",
            Self::TxChecksum => "tx-checksum",
            Self::RxChecksum => "rx-checksum",
            Self::Sg => "sg",
        }
    }

    fn command(self) -> Command {
        match self {
            Self::Tso => Command::Tso,
            Self::Gso => Command::Gso,
            Self::Gro => Command::Gro,
            Self::Lro => Command::Flags,
            Self::TxChecksum => Command::TxChecksum,
            Self::RxChecksum => Command::RxChecksum,
            Self::Sg => Command::Sg,
        }
    }

    /// The bit of what the command says that is this feature; all where it has a command alone.
    fn bits(self) -> u32 {
        if self == Self::Lro { FLAG_LRO } else { u32::MAX }
    }

    fn get(self, device: &str) -> io::Result<bool> {
        Ok(socket::device_feature(device, self.command())? & self.bits() != 0)
    }

    /// Whether it is on at a device of this network namespace.
    ///
    /// # Errors
    /// [`Error::Io`]: no such device, or one that does not have it.
    pub fn is_on(self, device: &str) -> Result<bool, Error> {
        self.get(device).map_err(Error::io(format!("{} of {device}", self.word())))
    }

    /// Turns it on or off at a device of this network namespace; whether it was on before.
    ///
    /// # Errors
    /// [`Error::Io`]: no such device, no right to, or a device that cannot; [`Error::Plan`] where
    /// the kernel says yes and leaves it as it was, since another feature needs or lacks it.
    pub fn set(self, device: &str, on: bool) -> Result<bool, Error> {
        let what = || format!("{} of {device}", self.word());
        let was = self.is_on(device)?;
        if was == on {
            return Ok(was);
        }
        let data = match self {
            Self::Lro => {
                let flags = socket::device_feature(device, self.command());
                flags.map_err(Error::io(what()))? ^ FLAG_LRO
            }
            _ => u32::from(on),
        };
        socket::set_device_feature(device, self.command(), data).map_err(Error::io(what()))?;
        match self.get(device) {
            Ok(now) if now == on => Ok(was),
            Ok(_) => {
                // The wish would come true later, when what stands in its way is gone.
                let _ = socket::set_device_feature(device, self.command(), u32::from(was));
                let word = if on { "off" } else { "on" };
                Err(Error::Plan(format!("{} stays {word}: another feature decides it", what())))
            }
            Err(error) => Err(Error::io(what())(error)),
        }
    }
}

impl Offloads {
    /// Those of `device`; `None` where there is no such device in this network namespace.
    #[must_use]
    pub fn of(device: &str) -> Option<Self> {
        // Every device has one.
        let mtu = socket::device_mtu(device).ok()?;
        let feature = |feature: Feature| feature.get(device).ok();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_set_is_said_and_what_is_so_already_is_no_change() {
        let error = Feature::Gro.set("no-such-device", true).unwrap_err();
        assert!(error.to_string().starts_with("gro of no-such-device: "), "{error}");
        // Loopback cannot receive large, nor can it do without its checksums.
        assert!(!Feature::Lro.set("lo", false).unwrap());
        assert!(Feature::TxChecksum.set("lo", false).is_err());
        for feature in [Feature::Lro, Feature::TxChecksum] {
            let text = serde_json::to_string(&feature).unwrap();
            assert_eq!(text, format!("\"{}\"", feature.word()));
        }
    }
}
