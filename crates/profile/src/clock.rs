//! Clock alignment: from pings of a guest's clock to the segments in which it goes evenly.
//!
//! A ping is a proof: the guest read its clock after the host sent and before it received, so
//! the offset then was between two numbers. A segment is a longest run of pings through whose
//! intervals one line goes. Its bound is how far the line that is taken can be from any line
//! that goes through all of them: it holds however unlike the ways there and back are, as long
//! as the clock goes evenly.

use model::{ClockSegment, Nanos, Pinged, TscOffset};

/// The steepest drift that is believed: 1 %.
const STEEPEST: f64 = 1e-2;
/// Clocks are read to so many nanoseconds, and wander a little.
const GRAIN: f64 = 100.0;
/// Steps of a search: each leaves less than two thirds.
const SEARCH: usize = 80;

/// One reading of a guest's clock between two of the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping {
    /// The host's clock before it asked.
    pub sent: Nanos,
    /// The host's clock when it had the answer.
    pub received: Nanos,
    /// The guest's clock when it answered.
    pub guest: Nanos,
}

impl Ping {
    /// What the clocks alone prove.
    #[must_use]
    pub fn of(pinged: &Pinged) -> Self {
        let Pinged { sent, guest, received } = pinged;
        Self { sent: sent.time, received: received.time, guest: guest.time }
    }

    /// What the counters prove, as long as the host's clock goes evenly by its counter between
    /// asking and answer: the guest read its clock between two moments of the host's that are as
    /// near each other as the readings of counters, however long the answer took. `None` where a
    /// counter was not read, or they contradict the order of asking and answer: then the offset is
    /// not the guest's.
    #[must_use]
    pub fn by_counters(pinged: &Pinged, offset: &TscOffset) -> Option<Self> {
        let (sent, guest) = (pinged.sent.counter?, pinged.guest.counter?);
        let received = pinged.received.counter?;
        let (first, last) = (offset.host(guest.0)?, offset.host(guest.1)?.checked_add(1)?);
        if ![sent.0, sent.1, first, last, received.0, received.1].is_sorted() {
            return None;
        }
        let (from, to) = (pinged.sent.time.0, pinged.received.time.0);
        let passed = to.checked_sub(from)?;
        // The clock was at `from` before the counter was at `start`, and at `to` before `end`, or
        // at both after: so it was before or after the line through the two.
        let at = |count: u64, start: u64, end: u64| {
            let part = u128::from(count.checked_sub(start)?) * u128::from(passed);
            let whole = u128::from(end.checked_sub(start)?);
            Some((part.checked_div(whole)?, part.checked_rem(whole)? > 0))
        };
        let (early, _) = at(first, sent.1, received.1)?;
        let (late, more) = at(last, sent.0, received.0)?;
        let moment = |passed: u128| u64::try_from(passed).ok()?.checked_add(from).map(Nanos);
        Some(Self {
            sent: moment(early)?,
            received: moment(late + u128::from(more))?,
            guest: pinged.guest.time,
        })
    }
}

/// How a guest's clock went.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Alignment {
    /// For [`model::Stream::clock`]; empty where there was no usable ping.
    pub segments: Vec<ClockSegment>,
    /// Pings that agree with none before and after, and were left out.
    pub outliers: usize,
}

/// A ping as what it proves: offset (guest less host) at a guest's time, both from an origin.
#[derive(Debug, Clone, Copy)]
struct Proof {
    at: f64,
    low: f64,
    high: f64,
}

/// Finds the segments of a guest's clock from pings, in the order in which they were sent.
#[must_use]
pub fn align(pings: &[Ping]) -> Alignment {
    let usable = |ping: &&Ping| ping.sent <= ping.received;
    let pings: Vec<Ping> = pings.iter().filter(usable).copied().collect();
    let mut alignment = Alignment { outliers: 0, segments: vec![] };
    let (mut rest, mut kept) = (&pings[..], Vec::new());
    while let Some(first) = rest.first() {
        let origin = *first;
        kept.clear();
        loop {
            let run = longest(origin, &kept, rest);
            kept.extend_from_slice(&rest[..run]);
            rest = &rest[run..];
            // One that disagrees while those after it agree is no step.
            match rest {
                [_, after @ ..] if !after.is_empty() && longest(origin, &kept, after) > 1 => {
                    alignment.outliers += 1;
                    rest = after;
                }
                _ => break,
            }
        }
        alignment.segments.extend(segment(&kept));
    }
    alignment
}

/// How many of `next` go on with `before` in one segment: at least one, after none.
fn longest(origin: Ping, before: &[Ping], next: &[Ping]) -> usize {
    let fits = |count: usize| {
        let all = before.iter().chain(next.iter().take(count));
        feasible(&Corners::of(all.map(|ping| ping.proof(origin)))).is_some()
    };
    let mut fit = usize::from(before.is_empty() && !next.is_empty());
    let mut step = 1;
    while fit + step <= next.len() && fits(fit + step) {
        fit += step;
        step *= 2;
    }
    while step > 0 {
        if fit + step <= next.len() && fits(fit + step) {
            fit += step;
        }
        step /= 2;
    }
    fit
}

impl Ping {
    fn proof(self, origin: Self) -> Proof {
        let difference = |host: Nanos| {
            let now = i128::from(self.guest.0) - i128::from(host.0);
            (now - origin.offset()) as f64
        };
        let at = i128::from(self.guest.0) - i128::from(origin.guest.0);
        Proof {
            at: at as f64,
            low: difference(self.received) - GRAIN / 2.0,
            high: difference(self.sent) + GRAIN / 2.0,
        }
    }

    fn offset(self) -> i128 {
        i128::from(self.guest.0) - i128::from(self.sent.0)
    }
}

/// The proofs of a run of pings that alone keep lines from going through: corners of the hull
/// above which all lows are not, and of that below which all highs are not.
#[derive(Debug, Default)]
struct Corners {
    /// (guest's time, lowest offset), in the order of time.
    lows: Vec<(f64, f64)>,
    /// (guest's time, highest offset), negative, so that both hulls are upper ones.
    highs: Vec<(f64, f64)>,
}

impl Corners {
    fn of(proofs: impl Iterator<Item = Proof>) -> Self {
        let mut proofs: Vec<_> = proofs.collect();
        // A clock that steps back has been at a time twice.
        proofs.sort_by(|a, b| a.at.total_cmp(&b.at));
        Self {
            lows: upper_hull(proofs.iter().map(|proof| (proof.at, proof.low))),
            highs: upper_hull(proofs.iter().map(|proof| (proof.at, -proof.high))),
        }
    }

    /// The room that lines of a drift have: from the lowest to the highest at the origin.
    fn room(&self, drift: f64) -> (f64, f64) {
        let most = |corners: &[(f64, f64)], drift: f64| {
            corners.iter().map(|(at, value)| value - drift * at).fold(f64::NEG_INFINITY, f64::max)
        };
        (most(&self.lows, drift), -most(&self.highs, -drift))
    }

    fn width(&self, drift: f64) -> f64 {
        let (low, high) = self.room(drift);
        high - low
    }
}

/// The corners of the hull above points, which are in the order of their first numbers.
fn upper_hull(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut hull: Vec<(f64, f64)> = Vec::new();
    for point in points {
        // Of those at one time the highest counts.
        match hull.last() {
            Some(last) if last.0 == point.0 && last.1 >= point.1 => continue,
            Some(last) if last.0 == point.0 => hull.pop(),
            _ => None,
        };
        while let [.., before, last] = hull[..] {
            let turns_right = (last.0 - before.0) * (point.1 - before.1)
                < (last.1 - before.1) * (point.0 - before.0);
            if turns_right {
                break;
            }
            hull.pop();
        }
        hull.push(point);
    }
    hull
}

/// The smallest and largest drift of a line through all proofs.
fn feasible(corners: &Corners) -> Option<(f64, f64)> {
    let widest = highest(-STEEPEST, STEEPEST, |drift| corners.width(drift));
    if corners.width(widest) < 0.0 {
        return None;
    }
    let edge = |mut outside: f64| {
        let mut inside = widest;
        for _ in 0..SEARCH {
            let middle = f64::midpoint(inside, outside);
            if corners.width(middle) < 0.0 { outside = middle } else { inside = middle }
        }
        inside
    };
    Some((edge(-STEEPEST), edge(STEEPEST)))
}

/// Where a concave function is highest.
fn highest(mut from: f64, mut to: f64, function: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..SEARCH {
        let third = (to - from) / 3.0;
        let (left, right) = (from + third, to - third);
        if function(left) < function(right) { from = left } else { to = right }
    }
    f64::midpoint(from, to)
}

/// The segment of pings that one line goes through.
fn segment(pings: &[Ping]) -> Option<ClockSegment> {
    let (first, last) = (*pings.first()?, *pings.last()?);
    let corners = Corners::of(pings.iter().map(|ping| ping.proof(first)));
    let (slow, fast) = feasible(&corners)?;
    // It holds as far beyond the pings as they are from each other.
    let length = last.proof(first).at;
    let spacing = length / (pings.len().max(2) - 1) as f64;
    let ends = [-spacing, length + spacing];
    let extremes = ends.map(|at| {
        let top = highest(slow, fast, |drift| corners.room(drift).1 + drift * at);
        let bottom = highest(slow, fast, |drift| -corners.room(drift).0 - drift * at);
        let (top, bottom) = (corners.room(top).1 + top * at, corners.room(bottom).0 + bottom * at);
        (f64::midpoint(top, bottom), (top - bottom) / 2.0)
    });
    let [(start, start_bound), (end, end_bound)] = extremes;
    let length = ends[1] - ends[0];
    // One ping, or all at once, say nothing of drift.
    let drift = if length > 0.0 { (end - start) / length } else { 0.0 };
    let offset = start - drift * ends[0];
    let quickest = pings.iter().map(|ping| ping.received.0 - ping.sent.0).min()?;
    let bound = start_bound.max(end_bound).max(quickest as f64 / 2.0) + 1.0;
    Some(ClockSegment {
        from: first.guest.min(last.guest),
        offset: i64::try_from(first.offset() + offset.round() as i128).ok()?,
        drift,
        bound: bound.ceil() as u64,
    })
}

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;
