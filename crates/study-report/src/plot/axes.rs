//! The straight axes.

use super::label;
use crate::tidy;
use plotly::common::{ExponentFormat, Font, Title};
use plotly::layout::{Axis as Drawn, AxisType, RangeMode, TicksDirection};
use study::figure::Axis;

/// From here on thousands are written as k and M.
const MANY: f64 = 1e7;
/// Values whose smallest is more than this part of the largest need not begin at 0.
const NEAR: f64 = 0.5;
/// Characters of a title's line: the shorter side of a drawing on a small screen holds them.
const TITLE: usize = 36;

/// An axis over values.
pub fn over(axis: &Axis, values: impl Iterator<Item = f64> + Clone) -> Drawn {
    let drawn = titled(&tidy::title(axis));
    if axis.log {
        return drawn.type_(AxisType::Log).exponent_format(ExponentFormat::Power);
    }
    let finite = || values.clone().filter(|value| value.is_finite());
    let largest = finite().map(f64::abs).fold(0.0, f64::max);
    let smallest = finite().map(f64::abs).fold(f64::INFINITY, f64::min);
    let format = if largest < MANY { ExponentFormat::None } else { ExponentFormat::SI };
    let from = if smallest > NEAR * largest { RangeMode::Normal } else { RangeMode::ToZero };
    drawn.range_mode(from).exponent_format(format).separate_thousands(true)
}

/// An axis with its title.
pub fn titled(title: &str) -> Drawn {
    let title = label::wrapped(title, TITLE);
    Drawn::new()
        .title(Title::with_text(title).font(Font::new().size(13)))
        .auto_margin(true)
        .grid_color("#e3e3e3")
        .line_color("#666")
        .show_line(true)
        .zero_line(false)
        .ticks(TicksDirection::Outside)
        .tick_color("#666")
}
