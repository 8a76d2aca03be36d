//! What a sample costs, from runs with and without sampling, and which period that allows.

use stats::Estimate;

/// Confidence of all intervals.
const CONFIDENCE: f64 = 0.95;

/// A period in a block: the same work without, with, with and without sampling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Seconds without sampling, mean of two.
    pub without: f64,
    /// Seconds with sampling, mean of two.
    pub with: f64,
    /// Samples taken in those seconds, mean of two.
    pub samples: f64,
    /// Events (nanoseconds of clocks) that these samples stand for.
    pub events: f64,
}

impl Cell {
    /// How much longer the work took.
    pub fn overhead(&self) -> f64 {
        self.with / self.without - 1.0
    }

    /// Samples a second of the bare work.
    fn rate(&self) -> f64 {
        self.samples / self.without
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// How much longer the work took at each period.
    pub overheads: Vec<Option<Estimate>>,
    /// Seconds that a sample costs.
    pub cost: Option<Estimate>,
    /// The shortest period whose overhead stays under the bound with 97.5 % confidence.
    pub shortest: Option<u64>,
}

/// Fits overhead = cost × samples a second through the origin in each block: the short periods,
/// where the overhead stands out of the noise, tell what a sample costs, and with it the overhead
/// of the long ones.
pub fn fit(blocks: &[Vec<Cell>], bound: f64) -> Fit {
    let periods = blocks.first().map_or(0, Vec::len);
    let overhead = |period: usize| {
        let all: Vec<f64> =
            blocks.iter().filter_map(|block| Some(block.get(period)?.overhead())).collect();
        stats::mean(&all, CONFIDENCE)
    };
    let slopes: Vec<f64> = blocks.iter().filter_map(|block| slope(block)).collect();
    let cost = stats::mean(&slopes, CONFIDENCE);
    let cells = || blocks.iter().flatten();
    let (events, seconds) = (
        cells().map(|cell| cell.events).sum::<f64>(),
        cells().map(|cell| cell.without).sum::<f64>(),
    );
    // overhead = cost × events a second / period.
    let shortest = cost.map(|cost| cost.high.max(0.0) * (events / seconds) / bound);
    let shortest = shortest.filter(|period| period.is_finite()).map(two_digits);
    Fit { overheads: (0..periods).map(overhead).collect(), cost, shortest }
}

fn slope(block: &[Cell]) -> Option<f64> {
    let products: f64 = block.iter().map(|cell| cell.rate() * cell.overhead()).sum();
    let squares: f64 = block.iter().map(|cell| cell.rate().powi(2)).sum();
    (squares > 0.0).then_some(products / squares)
}

/// Rounded up to two digits: more would only look exact.
fn two_digits(period: f64) -> u64 {
    let unit = 10_f64.powf(period.max(1.0).log10().floor() - 1.0).max(1.0);
    ((period / unit).ceil() * unit) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work of a second, sampled by a clock; a sample costs two microseconds.
    fn cell(period: f64, noise: f64) -> Cell {
        let samples = 1e9 / period;
        Cell { without: 1.0, with: 1.0 + samples * 2e-6 + noise, samples, events: 1e9 }
    }

    #[test]
    fn the_cost_of_a_sample_gives_the_period() {
        let block = |noise: f64| vec![cell(20e3, noise), cell(100e3, -noise), cell(1e6, noise)];
        let blocks: Vec<_> = [0.001, -0.001, 0.0005, -0.0005].map(block).into();
        let found = fit(&blocks, 0.0025);
        let cost = found.cost.unwrap();
        assert!((cost.value - 2e-6).abs() < 1e-7 && cost.low < 2e-6 && 2e-6 < cost.high);
        // 2 µs of 800 µs are 0.25 %.
        let shortest = found.shortest.unwrap();
        assert!((800_000..860_000).contains(&shortest), "{shortest}");
        assert!((found.overheads[0].unwrap().value - 0.1).abs() < 0.001);
    }

    #[test]
    fn a_single_block_gives_no_interval_and_no_period() {
        let found = fit(&[vec![cell(20e3, 0.0)]], 0.0025);
        assert_eq!((found.cost, found.shortest), (None, None));
        assert_eq!(fit(&[], 0.0025).overheads, []);
    }

    #[test]
    fn a_period_is_rounded_up_to_two_digits() {
        assert_eq!(two_digits(812_345.0), 820_000);
        assert_eq!(two_digits(800_000.0), 800_000);
        assert_eq!(two_digits(0.3), 1);
    }
}
