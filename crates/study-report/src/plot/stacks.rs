//! Stacked bars: the parts of a whole, and the whole as it was measured.

use super::{axes, label, layout};
use crate::palette::{PARTS, css};
use crate::tidy::WHOLE;
use plotly::common::{
    ErrorData, ErrorType, HoverInfo, Line as Stroke, Marker, MarkerSymbol, Mode, Pattern,
    PatternFillMode, PatternShape,
};
use plotly::layout::{BarMode, RangeMode};
use plotly::{Bar as Column, Plot, Scatter};
use study::figure::{Axis, Bar};

/// Characters of a line of a bar's name.
const NAME: usize = 16;

/// Adds the bars to the plot; what could not be drawn is said in notes.
pub fn draw(plot: &mut Plot, y: &Axis, parts: &[String], bars: &[Bar]) -> Vec<String> {
    for (at, part) in parts.iter().enumerate() {
        plot.add_trace(layer(at, part, y, bars));
    }
    let unknown = bars.iter().any(|bar| rest(bar, parts.len()).is_some());
    if unknown {
        plot.add_trace(remainder(parts.len(), y, bars));
    }
    // Plotly would draw an interval that is not there as one of no width.
    for known in [true, false] {
        if bars.iter().any(|bar| bar.whole.interval.is_some() == known) {
            plot.add_trace(wholes(y, bars, known));
        }
    }
    // By number, not by name: two bars of one name are two bars.
    let places = (0..bars.len()).map(|at| at as f64).collect();
    let names = bars.iter().map(|bar| label::wrapped(&bar.name, NAME)).collect();
    let x = axes::titled("").tick_values(places).tick_text(names).show_grid(false);
    let heights = bars.iter().map(|bar| bar.whole.value);
    let up = axes::over(y, heights);
    // A bar's length is its value only from 0.
    let up = if y.log { up } else { up.range_mode(RangeMode::ToZero) };
    plot.set_layout(layout().x_axis(x).y_axis(up).bar_mode(BarMode::Relative).bar_gap(0.35));
    if bars.is_empty() {
        return vec!["No data.".to_owned()];
    }
    let note = "Parts that are not known are hatched together, up to the measured whole.";
    if unknown { vec![note.to_owned()] } else { Vec::new() }
}

/// One part in every bar.
fn layer(at: usize, part: &str, y: &Axis, bars: &[Bar]) -> Box<Column<f64, f64>> {
    let height = |bar: &Bar| bar.parts.get(at).copied().flatten();
    let heights = bars.iter().map(|bar| height(bar).unwrap_or(f64::NAN));
    let hover = bars.iter().map(|bar| {
        let value = height(bar).map_or_else(String::new, |height| label::quantity(height, y));
        label::hover(&bar.name, None, part, &value)
    });
    let pattern = Pattern::new()
        .shape(shape(at))
        .fill_mode(PatternFillMode::Overlay)
        .solidity(0.2)
        .foreground_color("#fff");
    column(bars, heights.collect())
        .name(label::legend(part))
        .marker(Marker::new().color(css(PARTS[at % PARTS.len()])).pattern(pattern))
        .hover_text_array(hover.collect())
}

/// What the unknown parts come to together, where the known ones do not reach the whole.
fn rest(bar: &Bar, parts: usize) -> Option<f64> {
    let known: f64 = bar.parts.iter().flatten().sum();
    let complete = bar.parts.iter().take(parts).flatten().count() == parts;
    Some(bar.whole.value - known).filter(|rest| !complete && *rest > 0.0)
}

fn remainder(parts: usize, y: &Axis, bars: &[Bar]) -> Box<Column<f64, f64>> {
    let heights = bars.iter().map(|bar| rest(bar, parts).unwrap_or(f64::NAN));
    let hover = bars.iter().map(|bar| {
        let value = rest(bar, parts).map(|rest| label::quantity(rest, y)).unwrap_or_default();
        label::hover(&bar.name, None, "not known", &value)
    });
    let pattern = Pattern::new().shape(PatternShape::RightDiagonalLine).foreground_color("#999");
    column(bars, heights.collect())
        .name("not known")
        .marker(
            Marker::new()
                .color("#fff")
                .pattern(pattern)
                .line(Stroke::new().color("#999").width(1.0)),
        )
        .hover_text_array(hover.collect())
}

fn column(bars: &[Bar], heights: Vec<f64>) -> Box<Column<f64, f64>> {
    let places = (0..bars.len()).map(|at| at as f64).collect();
    Column::new(places, heights).hover_info(HoverInfo::Text)
}

/// The whole of each bar: of those with an interval, which is drawn, or of those without.
fn wholes(y: &Axis, bars: &[Bar], known: bool) -> Box<Scatter<f64, f64>> {
    let all = bars.iter().enumerate().filter(|(_, bar)| bar.whole.interval.is_some() == known);
    let (places, shown): (Vec<f64>, Vec<&Bar>) = all.map(|(at, bar)| (at as f64, bar)).unzip();
    let heights = shown.iter().map(|bar| bar.whole.value).collect();
    let hover =
        shown.iter().map(|bar| label::hover(&bar.name, None, WHOLE, &label::value(&bar.whole, y)));
    let ring = Stroke::new().color("#222").width(1.5);
    let trace = Scatter::new(places, heights)
        .name(if known { WHOLE } else { "whole, without interval" })
        .mode(Mode::Markers)
        .marker(Marker::new().symbol(MarkerSymbol::Diamond).size(8).color("#fff").line(ring))
        .hover_info(HoverInfo::Text)
        .hover_text_array(hover.collect());
    if !known {
        return trace;
    }
    let ends = shown.iter().filter_map(|bar| Some((bar.whole.value, bar.whole.interval?)));
    let (up, down) = ends.map(|(value, (low, high))| (high - value, value - low)).unzip();
    let error = ErrorData::new(ErrorType::Data)
        .symmetric(false)
        .array(up)
        .array_minus(down)
        .color("#222")
        .thickness(1.5)
        .width(8);
    trace.error_y(error)
}

fn shape(at: usize) -> PatternShape {
    match at % 6 {
        0 => PatternShape::None,
        1 => PatternShape::LeftDiagonalLine,
        2 => PatternShape::Dot,
        3 => PatternShape::HorizontalLine,
        4 => PatternShape::Cross,
        _ => PatternShape::VerticalLine,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::drawn;
    use crate::sample;
    use serde_json::json;
    use study::figure::Drawing;

    #[test]
    fn a_part_that_is_not_known_is_not_zero() {
        let (plot, notes) = drawn(&sample::report(), "fig-6.3b");
        let parts = plot["data"].as_array().unwrap();
        assert_eq!(parts[0]["y"], json!([21.4, 25.0, 27.5]));
        assert_eq!(parts[2]["y"], json!([null, 14.2, null]), "hypervisor, native and KVM");
        assert_eq!(parts[3]["name"], "not known");
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn a_whole_without_interval_has_no_whiskers() {
        let mut report = sample::report();
        let figure = report.figures.iter_mut().find(|figure| figure.id == "fig-6.3b").unwrap();
        let Drawing::Stacks { bars, .. } = &mut figure.drawing else { panic!() };
        bars[1].whole.interval = None;
        let (plot, _) = drawn(&report, "fig-6.3b");
        let wholes: Vec<_> =
            plot["data"].as_array().unwrap().iter().filter(|t| t["type"] == "scatter").collect();
        assert_eq!((&wholes[0]["x"], &wholes[1]["x"]), (&json!([0.0, 2.0]), &json!([1.0])));
        assert_eq!(wholes[0]["error_y"]["array"].as_array().unwrap().len(), 2);
        assert!(wholes[1]["error_y"].is_null());
    }
}
