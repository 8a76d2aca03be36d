//! Lines of one point each, all at the same place: bars side by side, as nothing leads from one
//! place to another.

use super::{axes, label, layout};
use crate::palette::Palette;
use crate::tidy;
use plotly::common::{ErrorData, ErrorType, HoverInfo, Marker, Orientation};
use plotly::layout::RangeMode;
use plotly::{Bar, Plot};
use study::figure::{Axis, Line, Point};

/// Characters of a line of a bar's name: on a telephone half of the width.
const NAME: usize = 22;
/// Height of a bar with its distance to the next, in pixels.
const BAR: usize = 44;

/// The place at which all lines have their one point; `None` where it takes a line chart, or where
/// an axis is logarithmic, on which a bar's length says nothing.
pub fn place(y: &Axis, lines: &[Line]) -> Option<f64> {
    let points: Vec<&Point> = lines.iter().flat_map(|line| &line.points).collect();
    let first = tidy::place(points.first()?);
    let single = lines.iter().all(|line| line.points.len() <= 1);
    let same = points.iter().all(|point| tidy::place(point) == first);
    (single && same && !y.log).then_some(first)
}

/// Adds the bars to the plot; where they are is said in notes.
pub fn draw(
    plot: &mut Plot,
    (x, place): (&Axis, f64),
    y: &Axis,
    lines: &[Line],
    palette: &Palette,
) -> Vec<String> {
    let points: Vec<(&Line, &Point)> =
        lines.iter().filter_map(|line| Some((line, line.points.first()?))).collect();
    for (at, (line, point)) in points.iter().enumerate() {
        plot.add_trace(bar(at, line, point, (x, y), palette));
    }
    let places = (0..points.len()).map(|at| at as f64).collect();
    let names = points.iter().map(|(line, _)| label::wrapped(&line.name, NAME)).collect();
    // The first at the top.
    let ends = vec![points.len() as f64 - 0.5, -0.5];
    let down = axes::titled("").tick_values(places).tick_text(names).show_grid(false).range(ends);
    let across = axes::over(y, points.iter().map(|(_, point)| point.y.value));
    let layout = layout()
        .x_axis(across.range_mode(RangeMode::ToZero))
        .y_axis(down)
        .bar_gap(0.35)
        .show_legend(false)
        // The script takes it for the height of the area.
        .height(BAR * points.len().max(2));
    plot.set_layout(layout);
    let mut notes = vec![format!("{}: {}.", x.label, label::quantity(place, x))];
    if points.iter().any(|(_, point)| point.y.interval.is_none()) {
        notes
            .push("A bar without whiskers has no confidence interval: too few samples.".to_owned());
    }
    notes
}

fn bar(
    at: usize,
    line: &Line,
    point: &Point,
    (x, y): (&Axis, &Axis),
    palette: &Palette,
) -> Box<Bar<f64, f64>> {
    let look = palette.look(&line.name);
    let value = point.y.value;
    let place = label::quantity(point.x, x);
    let hover = label::hover(&line.name, Some(place), &y.label, &label::value(&point.y, y));
    // All have the same offset: each is a trace of its own.
    let bar = Bar::new(vec![value], vec![at as f64])
        .orientation(Orientation::Horizontal)
        .name(label::legend(&line.name))
        .offset(-0.3)
        .width(0.6)
        .marker(Marker::new().color(look.solid()))
        .hover_info(HoverInfo::Text)
        .hover_text_array(vec![hover]);
    // Plotly would draw an error that is not there as one of 0.
    let Some((low, high)) = point.y.interval else { return bar };
    let error = ErrorData::new(ErrorType::Data)
        .symmetric(false)
        .array(vec![high - value])
        .array_minus(vec![value - low])
        .color("#222")
        .thickness(1.5)
        .width(8);
    bar.error_x(error)
}

#[cfg(test)]
mod tests {
    use super::super::tests::drawn;
    use crate::sample;
    use serde_json::json;
    use study::figure::{Drawing, Measured};

    #[test]
    fn one_point_of_each_line_is_a_bar_with_whiskers() {
        let mut report = sample::report();
        let figure = report.figures.iter_mut().find(|figure| figure.id == "fig-one").unwrap();
        let Drawing::Lines { lines, .. } = &mut figure.drawing else { panic!() };
        let mut other = lines[0].clone();
        other.name = "Xen, guest + IDD".to_owned();
        other.points[0].y = Measured { value: 50.0, interval: Some((40.0, 65.0)), samples: 5 };
        lines.push(other);
        let (plot, notes) = drawn(&report, "fig-one");
        let bars = plot["data"].as_array().unwrap();
        assert_eq!(bars.len(), 2);
        assert!(bars.iter().all(|bar| bar["type"] == "bar" && bar["orientation"] == "h"));
        assert_eq!((&bars[0]["x"], &bars[0]["y"]), (&json!([99.2]), &json!([0.0])));
        assert!(bars[0]["error_x"].is_null(), "no interval is not one of 0");
        assert_eq!(bars[1]["error_x"]["array"], json!([15.0]));
        assert_eq!(bars[1]["error_x"]["arrayminus"], json!([10.0]));
        assert_eq!(plot["layout"]["yaxis"]["ticktext"], json!(["native", "Xen, guest + IDD"]));
        assert_eq!(notes[0], "rate: 100 connections/s.");
        assert!(notes[1].starts_with("A bar without whiskers"), "{notes:?}");
    }

    #[test]
    fn points_at_several_places_make_lines() {
        let mut report = sample::report();
        let figure = report.figures.iter_mut().find(|figure| figure.id == "fig-one").unwrap();
        let Drawing::Lines { lines, .. } = &mut figure.drawing else { panic!() };
        let mut other = lines[0].clone();
        other.points[0].x = 200.0;
        lines.push(other);
        let (plot, _) = drawn(&report, "fig-one");
        assert_eq!(plot["data"][0]["type"], "scatter");
    }
}
