//! What only the guest can tell: its kernel and its programs apart (equation 4.3), and what was
//! stolen from it.

use crate::pair::Scale;
use model::{Absent, Inside, Nanos, Reading, increase};

/// A guest's own view of an interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Within {
    /// U_i,so: its kernel's part of the guest's time.
    pub system: Reading<Nanos>,
    /// U_i,prog: its programs' part.
    pub programs: Reading<Nanos>,
    /// Stolen, Σ over its vCPUs.
    pub steal: Nanos,
}

impl Within {
    /// From what the guest's kernel counted at both ends. Its user and system times are samples
    /// of its tick: they divide `guest`, the exact time of the hypervisor or host.
    ///
    /// # Errors
    /// Where the guest booted in between, or a counter of its went backwards.
    pub fn between(
        scale: Scale,
        old: &Inside,
        new: &Inside,
        guest: &Reading<Nanos>,
    ) -> Reading<Self> {
        if old.boot != new.boot {
            return Err(Absent::Appeared);
        }
        let since = |part: fn(&Inside) -> Nanos| increase(&Ok(part(old)), &Ok(part(new)));
        let (user, system) = (since(|inside| inside.user)?, since(|inside| inside.system)?);
        let steal = scale.to_interval(since(|inside| inside.steal)?, old.window, new.window);
        let programs = guest.clone().and_then(|guest| share(guest, user, system));
        let system = guest.clone().and_then(|guest| Ok(guest.saturating_sub(programs.clone()?)));
        Ok(Self { system, programs, steal })
    }
}

/// The part of `guest` that its ticks in user mode have among all its busy ticks.
fn share(guest: Nanos, user: Nanos, system: Nanos) -> Reading<Nanos> {
    if guest == Nanos::ZERO {
        return Ok(guest);
    }
    let all = user + system;
    if all == Nanos::ZERO {
        let why = "no tick of the guest's clock hit its work: take a longer interval";
        return Err(Absent::NotProvided(why.into()));
    }
    Ok(guest.share(user.seconds() / all.seconds()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Window;

    const MS: u64 = 1_000_000;

    fn at(time: u64, [user, system, steal]: [u64; 3]) -> Inside {
        let now = Nanos(time * MS);
        Inside {
            boot: "one".to_owned(),
            window: Window { start: now, end: now },
            user: Nanos(user * MS),
            system: Nanos(system * MS),
            steal: Nanos(steal * MS),
        }
    }

    fn between(old: &Inside, new: &Inside, guest: u64) -> Reading<Within> {
        let scale = Scale { interval: Nanos(1000 * MS) };
        Within::between(scale, old, new, &Ok(Nanos(guest * MS)))
    }

    #[test]
    fn ticks_divide_the_exact_time() {
        let found = between(&at(5000, [100, 100, 0]), &at(7000, [400, 200, 60]), 500).unwrap();
        assert_eq!(found.programs, Ok(Nanos(375 * MS)));
        assert_eq!(found.system, Ok(Nanos(125 * MS)));
        // Two seconds of the guest's clock passed: half of it is the interval's.
        assert_eq!(found.steal, Nanos(30 * MS));
    }

    #[test]
    fn a_guest_without_ticks_is_not_divided() {
        let found = between(&at(0, [1, 1, 0]), &at(1000, [1, 1, 0]), 3).unwrap();
        assert!(matches!(found.programs, Err(Absent::NotProvided(_))));
        assert!(matches!(found.system, Err(Absent::NotProvided(_))));
        let idle = between(&at(0, [1, 1, 0]), &at(1000, [1, 1, 0]), 0).unwrap();
        assert_eq!((idle.programs, idle.system), (Ok(Nanos::ZERO), Ok(Nanos::ZERO)));
    }

    #[test]
    fn another_boot_or_a_smaller_counter_is_no_reading() {
        let mut later = at(1000, [9, 9, 9]);
        assert!(matches!(
            between(&at(0, [10, 0, 0]), &later, 3),
            Err(Absent::WentBackwards { .. })
        ));
        later.boot = "two".to_owned();
        assert_eq!(between(&at(0, [0; 3]), &later, 3), Err(Absent::Appeared));
    }
}
