//! Units as types: a number that carries what it counts.

use serde::{Deserialize, Serialize};
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::time::Duration;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Nothing of it: a *known* zero, never a stand-in for an unknown.
            pub const ZERO: Self = Self(0);

            /// `self - other`, or zero where `other` is larger.
            #[must_use]
            pub fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }

            /// `self - other`, or `None` where `other` is larger.
            #[must_use]
            pub fn checked_sub(self, other: Self) -> Option<Self> {
                self.0.checked_sub(other.0).map(Self)
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
                all.fold(Self::ZERO, Add::add)
            }
        }

        impl From<u64> for $name {
            fn from(value: u64) -> Self {
                Self(value)
            }
        }

        impl From<$name> for u64 {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

unit!(
    /// Nanoseconds: of CPU (busy time, B) or of wall clock (interval, T).
    Nanos
);
unit!(
    /// Bytes, of memory or of traffic.
    Bytes
);
unit!(
    /// I/O operations: network packets and block requests, the unit of equations 4.6 and 4.7.
    Operations
);

impl Nanos {
    /// The same time in seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// A time of so many seconds; negative or not finite gives zero.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds * 1e9).round().max(0.0) as u64)
    }

    /// This part of the time, `share` in 0..=1 (clamped).
    #[must_use]
    pub fn share(self, share: f64) -> Self {
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        Self((self.0 as f64 * share).round() as u64)
    }
}

impl From<Duration> for Nanos {
    fn from(value: Duration) -> Self {
        Self(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_a_time_is_bounded_by_it() {
        assert_eq!(Nanos(1000).share(0.25), Nanos(250));
        assert_eq!(Nanos(1000).share(7.0), Nanos(1000));
        assert_eq!(Nanos(1000).share(-1.0), Nanos::ZERO);
        assert_eq!(Nanos(1000).share(f64::NAN), Nanos::ZERO);
    }

    #[test]
    fn sums_saturate() {
        assert_eq!([Bytes(u64::MAX), Bytes(1)].into_iter().sum::<Bytes>(), Bytes(u64::MAX));
    }
}
