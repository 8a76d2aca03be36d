//! Lines, each with its band of confidence.

use super::{axes, label, layout};
use crate::palette::{Look, Palette};
use plotly::common::{Fill, HoverInfo, Line as Stroke, LineShape, Marker, Mode};
use plotly::{Plot, Scatter};
use study::figure::{Axis, Line, Point};

/// More markers than this on a line hide it.
const MARKERS: usize = 30;
/// How much of a band's colour is seen.
const BAND: f64 = 0.2;

/// Adds the lines to the plot; what could not be drawn is said in notes.
pub fn draw(plot: &mut Plot, x: &Axis, y: &Axis, lines: &[Line], palette: &Palette) -> Vec<String> {
    let floor = floor(y, lines);
    // All bands first, so that no line is under one.
    for (at, line) in lines.iter().enumerate() {
        plot.add_trace(band(at, line, &palette.look(&line.name), x, floor));
    }
    for (at, line) in lines.iter().enumerate() {
        plot.add_trace(stroke(at, line, &palette.look(&line.name), x, y));
    }
    let across = lines.iter().flat_map(|line| line.points.iter().map(|point| point.x));
    let up = lines.iter().flat_map(|line| &line.points).flat_map(|point| {
        let (low, high) = point.y.interval.unwrap_or((point.y.value, point.y.value));
        [low, point.y.value, high]
    });
    plot.set_layout(layout().x_axis(axes::over(x, across)).y_axis(axes::over(y, up)));
    notes(x, y, lines, floor)
}

/// On a logarithmic axis, where bands that reach 0 or below end: half of the smallest value that
/// can be drawn.
fn floor(y: &Axis, lines: &[Line]) -> Option<f64> {
    let points = lines.iter().flat_map(|line| &line.points);
    let drawn = points
        .flat_map(|point| {
            let low = point.y.interval.map(|(low, _)| low);
            [Some(point.y.value), low]
        })
        .flatten()
        .filter(|value| *value > 0.0 && value.is_finite());
    y.log.then(|| drawn.fold(f64::INFINITY, f64::min) / 2.0).filter(|floor| floor.is_finite())
}

fn notes(x: &Axis, y: &Axis, lines: &[Line], floor: Option<f64>) -> Vec<String> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let off = |axis: &Axis, value: f64| !value.is_finite() || (axis.log && value <= 0.0);
    let lost = points().filter(|point| off(x, point.x) || off(y, point.y.value)).count();
    let cut = points()
        .filter(|p| floor.is_some() && p.y.interval.is_some_and(|(low, _)| low <= 0.0))
        .count();
    let bare = points().filter(|point| point.y.interval.is_none()).count();
    let mut notes = Vec::new();
    if points().next().is_none() {
        notes.push("No data.".to_owned());
    }
    if lost > 0 {
        notes.push(format!(
            "Not drawn, and in the table only: {}, where an axis cannot show the value.",
            counted(lost, "point")
        ));
    }
    if cut > 0 {
        notes.push(format!(
            "Cut at the lower end: the band of {}, as a logarithmic axis has no 0.",
            counted(cut, "interval")
        ));
    }
    if bare > 0 {
        notes.push("A hollow marker has no confidence interval: too few samples.".to_owned());
    }
    notes
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// The line with its markers, those without an interval hollow.
fn stroke(at: usize, line: &Line, look: &Look, x: &Axis, y: &Axis) -> Box<Scatter<f64, f64>> {
    let points = &line.points;
    let xs = points.iter().map(|point| point.x).collect();
    let ys = points.iter().map(|point| point.y.value).collect();
    let fills: Vec<String> = points
        .iter()
        .map(|p| if p.y.interval.is_some() { look.solid() } else { "#fff".to_owned() })
        .collect();
    let mut marker = Marker::new()
        .symbol(look.marker.clone())
        .size(8)
        .color_array(fills)
        .line(Stroke::new().color(look.solid()).width(1.5));
    if points.len() > MARKERS {
        marker = marker.max_displayed(MARKERS);
    }
    let hover = points.iter().map(|point| {
        let place = label::quantity(point.x, x);
        label::hover(&line.name, Some(place), &y.label, &label::value(&point.y, y))
    });
    Scatter::new(xs, ys)
        .name(label::legend(&line.name))
        .legend_group(at.to_string())
        .mode(Mode::LinesMarkers)
        .line(Stroke::new().color(look.solid()).dash(look.dash.clone()).width(2.0))
        .marker(marker)
        .hover_info(HoverInfo::Text)
        .hover_text_array(hover.collect())
}

/// The area between low and high: one for each run of points that have an interval. An interval
/// without neighbours is a bar.
fn band(
    at: usize,
    line: &Line,
    look: &Look,
    x: &Axis,
    floor: Option<f64>,
) -> Box<Scatter<f64, f64>> {
    let (mut xs, mut ys) = (Vec::new(), Vec::new());
    let drawn = |point: &Point| point.x.is_finite() && !(x.log && point.x <= 0.0);
    let ends = |point: &Point| {
        let (low, high) = point.y.interval.filter(|_| drawn(point))?;
        let low = floor.map_or(low, |floor| low.max(floor));
        (low <= high && high.is_finite()).then_some((low, high))
    };
    for run in line.points.chunk_by(|a, b| ends(a).is_some() && ends(b).is_some()) {
        let run: Vec<_> = run.iter().filter_map(|point| Some((point.x, ends(point)?))).collect();
        let there = run.iter().map(|(x, (low, _))| (*x, *low));
        let back = run.iter().rev().map(|(x, (_, high))| (*x, *high));
        // What is no number becomes null, which ends one area and begins the next.
        let outline = there.chain(back).chain([(f64::NAN, f64::NAN)]);
        if !run.is_empty() {
            let (x, y): (Vec<f64>, Vec<f64>) = outline.unzip();
            xs.extend(x);
            ys.extend(y);
        }
    }
    Scatter::new(xs, ys)
        .legend_group(at.to_string())
        .show_legend(false)
        .mode(Mode::Lines)
        .fill(Fill::ToSelf)
        .fill_color(look.translucent(BAND))
        .line(Stroke::new().color(look.translucent(2.0 * BAND)).width(1.0).shape(LineShape::Linear))
        .hover_info(HoverInfo::Skip)
}

#[cfg(test)]
mod tests {
    use super::super::tests::drawn;
    use crate::sample;
    use serde_json::json;
    use study::figure::{Drawing, Measured};

    #[test]
    fn a_band_has_a_gap_where_there_is_no_interval() {
        let mut report = sample::report();
        let Drawing::Lines { lines, .. } = &mut report.figures[0].drawing else { panic!() };
        lines.truncate(1);
        lines[0].points.truncate(5);
        for (at, point) in lines[0].points.iter_mut().enumerate() {
            let interval = (at != 2).then_some((9.0, 11.0));
            (point.x, point.y) = (at as f64, Measured { value: 10.0, interval, samples: 5 });
        }
        let id = report.figures[0].id.clone();
        let (plot, notes) = drawn(&report, &id);
        let band = &plot["data"][0];
        assert_eq!(band["x"], json!([0.0, 1.0, 1.0, 0.0, null, 3.0, 4.0, 4.0, 3.0, null]));
        assert_eq!(band["y"], json!([9.0, 9.0, 11.0, 11.0, null, 9.0, 9.0, 11.0, 11.0, null]));
        assert_eq!(plot["data"][1]["marker"]["color"][2], "#fff");
        assert_eq!(plot["data"][1]["y"].as_array().unwrap().len(), 5);
        assert!(notes[0].starts_with("A hollow marker"), "{notes:?}");
    }

    #[test]
    fn what_a_logarithmic_axis_cannot_show_is_said() {
        let mut report = sample::report();
        let Drawing::Lines { y, lines, .. } = &mut report.figures[0].drawing else { panic!() };
        y.log = true;
        lines[0].points[0].y = Measured { value: 0.0, interval: Some((-1.0, 1.0)), samples: 5 };
        let id = report.figures[0].id.clone();
        let (plot, notes) = drawn(&report, &id);
        assert!(notes[0].starts_with("Not drawn, and in the table only: 1 point,"), "{notes:?}");
        assert!(notes[1].starts_with("Cut at the lower end: the band of 1 interval,"), "{notes:?}");
        assert!(plot["data"][0]["y"][0].as_f64().unwrap() > 0.0);
        assert_eq!(plot["layout"]["yaxis"]["type"], "log");
    }
}
