//! A Kiviat graph: an axis for each quantity, scaled by its largest value.

use super::{label, layout};
use crate::number;
use crate::palette::{Look, Palette};
use model::shorten;
use plotly::common::{Fill, HoverInfo, Line as Stroke, Marker, Mode};
use plotly::layout::{
    AngularAxis, LayoutPolar, PolarAxisAttributes, PolarAxisTicks, PolarDirection, PolarTickMode,
    RadialAxis, RangeMode,
};
use plotly::{Plot, ScatterPolar};
use study::figure::{Axis, Measured, Ring};

/// Characters of a line of an axis' name.
const NAME: usize = 12;
/// Characters of a name in all: above and below the circle there is room for four lines.
const LONGEST: usize = 36;

/// An axis with the value that its end stands for.
struct Spoke<'a> {
    axis: &'a Axis,
    angle: f64,
    /// `None` where no value on it is above 0.
    largest: Option<f64>,
}

impl Spoke<'_> {
    /// How far out a value is; what is not known, or below 0, is nowhere.
    fn radius(&self, value: f64) -> f64 {
        match self.largest {
            _ if value < 0.0 || !value.is_finite() => f64::NAN,
            Some(largest) => value / largest,
            None => 0.0,
        }
    }
}

/// Adds the rings to the plot; what could not be drawn is said in notes.
pub fn draw(plot: &mut Plot, axes: &[Axis], rings: &[Ring], palette: &Palette) -> Vec<String> {
    let spokes: Vec<Spoke> = axes
        .iter()
        .enumerate()
        .map(|(at, axis)| Spoke {
            axis,
            angle: 360.0 * at as f64 / axes.len() as f64,
            largest: largest(rings, at),
        })
        .collect();
    for (at, ring) in rings.iter().enumerate() {
        let look = palette.look(&ring.name);
        plot.add_trace(outline(at, ring, &spokes, &look));
        plot.add_trace(intervals(at, ring, &spokes, &look));
    }
    plot.set_layout(layout().polar(polar(&spokes)));
    let values = rings.iter().flat_map(|ring| (0..axes.len()).map(|at| value(ring, at)));
    let lost = values.filter(|v| v.is_none_or(|v| v.value < 0.0 || !v.value.is_finite())).count();
    let mut notes = vec![
        "The number at an axis is the largest value on it, which is 100 %; a broad line at a \
         corner is its confidence interval."
            .to_owned(),
    ];
    if rings.is_empty() || axes.is_empty() {
        notes = vec!["No data.".to_owned()];
    } else if lost > 0 {
        notes.push("A ring is open where a value is not known.".to_owned());
    }
    notes
}

fn value(ring: &Ring, at: usize) -> Option<Measured> {
    ring.values.get(at).copied().flatten()
}

fn largest(rings: &[Ring], at: usize) -> Option<f64> {
    let values = rings.iter().filter_map(|ring| value(ring, at)).map(|measured| measured.value);
    values.filter(|value| value.is_finite() && *value > 0.0).reduce(f64::max)
}

/// A ring with its corners, filled where all of them are known.
fn outline(at: usize, ring: &Ring, spokes: &[Spoke], look: &Look) -> Box<ScatterPolar<f64, f64>> {
    let corner = |(at, spoke): (usize, &Spoke)| {
        let radius = value(ring, at).map_or(f64::NAN, |measured| spoke.radius(measured.value));
        (spoke.angle, radius)
    };
    // It ends where it began.
    let closed = spokes.iter().enumerate().chain(spokes.iter().enumerate().take(1));
    let (angles, radii): (Vec<f64>, Vec<f64>) = closed.clone().map(corner).unzip();
    let hover = closed.map(|(at, spoke)| {
        let value = value(ring, at).map(|measured| label::value(&measured, spoke.axis));
        label::hover(&ring.name, None, &spoke.axis.label, &value.unwrap_or_default())
    });
    let whole = radii.iter().all(|radius| radius.is_finite());
    let marker = Marker::new().symbol(look.marker.clone()).size(8).color(look.solid());
    let trace = ScatterPolar::new(angles, radii)
        .name(label::legend(&ring.name))
        .legend_group(at.to_string())
        .mode(Mode::LinesMarkers)
        .line(Stroke::new().color(look.solid()).dash(look.dash.clone()).width(2.0))
        .marker(marker)
        .connect_gaps(false)
        .hover_info(HoverInfo::Text)
        .hover_text_array(hover.collect());
    if whole { trace.fill(Fill::ToSelf).fill_color(look.translucent(0.08)) } else { trace }
}

/// The intervals, each along its axis.
fn intervals(at: usize, ring: &Ring, spokes: &[Spoke], look: &Look) -> Box<ScatterPolar<f64, f64>> {
    let ends = spokes.iter().enumerate().filter_map(|(at, spoke)| {
        let (low, high) = value(ring, at)?.interval?;
        let (low, high) = (spoke.radius(low.max(0.0)), spoke.radius(high));
        // What is no number becomes null, which ends the line.
        Some([(spoke.angle, low), (spoke.angle, high), (spoke.angle, f64::NAN)])
    });
    let (angles, radii): (Vec<f64>, Vec<f64>) = ends.flatten().unzip();
    ScatterPolar::new(angles, radii)
        .legend_group(at.to_string())
        .show_legend(false)
        .mode(Mode::Lines)
        .line(Stroke::new().color(look.translucent(0.5)).width(5.0))
        .hover_info(HoverInfo::Skip)
}

fn polar(spokes: &[Spoke]) -> LayoutPolar {
    let names = spokes.iter().map(|spoke| {
        let end = spoke.largest.map_or_else(|| number::UNKNOWN.to_owned(), number::number);
        let end = label::wrapped(&shorten(&format!("{end} {}", spoke.axis.unit), LONGEST), NAME);
        format!("{}<br><b>{end}</b>", label::wrapped(&shorten(&spoke.axis.label, LONGEST), NAME))
    });
    let ticks = PolarTickMode::Array {
        tick_values: Some(spokes.iter().map(|spoke| spoke.angle).collect()),
        tick_text: Some(names.collect()),
    };
    let quarters = PolarTickMode::Array {
        tick_values: Some(vec![0.25, 0.5, 0.75, 1.0]),
        tick_text: Some(["", "50 %", "", "100 %"].map(str::to_owned).to_vec()),
    };
    let attributes =
        |ticks| PolarAxisAttributes::new().grid_color("#ddd").line_color("#999").ticks(ticks);
    let radial = RadialAxis::new()
        .range_mode(RangeMode::ToZero)
        // Between two axes, where no corner is.
        .angle(90.0 - 180.0 / spokes.len().max(1) as f64)
        .axis_attributes(attributes(PolarAxisTicks::new().tick_mode(quarters).tick_angle(0.0)));
    let angular = AngularAxis::new()
        .direction(PolarDirection::Clockwise)
        .rotation(90.0)
        .axis_attributes(attributes(PolarAxisTicks::new().tick_mode(ticks)));
    LayoutPolar::new().radial_axis(radial).angular_axis(angular).bg_color("#fff")
}

#[cfg(test)]
mod tests {
    use super::super::tests::drawn;
    use crate::sample;

    #[test]
    fn an_axis_ends_at_its_largest_value_and_a_gap_is_a_gap() {
        let (plot, notes) = drawn(&sample::report(), "fig-6.7");
        let rings = plot["data"].as_array().unwrap();
        let radii = |at: usize| rings[at]["r"].as_array().unwrap();
        let largest = rings.iter().step_by(2).filter_map(|ring| ring["r"][0].as_f64());
        assert_eq!(largest.fold(0.0, f64::max), 1.0);
        assert_eq!(radii(0).first(), radii(0).last(), "closed");
        let open = rings.iter().step_by(2).find(|ring| ring["fill"].is_null()).unwrap();
        assert!(open["r"].as_array().unwrap().iter().any(serde_json::Value::is_null));
        assert_eq!(notes.len(), 2);
    }
}
