//! Figures as plotly draws them.

mod axes;
mod kiviat;
mod label;
mod lines;
mod single;
mod stacks;

use crate::palette::Palette;
use plotly::common::{Font, Orientation};
use plotly::configuration::{ImageButtonFormats, ModeBarButtonName, ToImageButtonOptions};
use plotly::layout::{DragMode, HoverMode, Legend, Margin};
use plotly::{Configuration, Layout, Plot};
use study::figure::{Drawing, Figure};

/// What is drawn of a figure.
pub struct Drawn {
    /// Traces, layout and configuration as JSON for `Plotly.newPlot`; text in it is escaped for
    /// plotly, which reads some HTML.
    pub json: String,
    /// What the reader has to know of the drawing: what could not be drawn, say.
    pub notes: Vec<String>,
}

/// Plotly itself, as a script; it draws without a network.
pub fn library() -> String {
    let scripts = Plot::offline_js_sources();
    // The second one sets formulas, of which no figure has any.
    let (plotly, _) = scripts.split_once("</script>").unwrap_or((&scripts, ""));
    format!("{plotly}</script>")
}

/// Draws a figure; `None` of a table, which is no drawing.
pub fn draw(figure: &Figure, palette: &Palette) -> Option<Drawn> {
    let mut plot = Plot::new();
    plot.set_configuration(configuration(figure));
    let notes = match &figure.drawing {
        Drawing::Lines { x, y, lines } => match single::place(y, lines) {
            Some(place) => single::draw(&mut plot, (x, place), y, lines, palette),
            None => lines::draw(&mut plot, x, y, lines, palette),
        },
        Drawing::Stacks { y, parts, bars } => stacks::draw(&mut plot, y, parts, bars),
        Drawing::Kiviat { axes, rings } => kiviat::draw(&mut plot, axes, rings, palette),
        Drawing::Table { .. } => return None,
    };
    Some(Drawn { json: plot.to_json(), notes })
}

/// What all layouts share. The page's script gives the size: it knows the window's and the legend's.
fn layout() -> Layout {
    Layout::new()
        .font(Font::new().family("system-ui, 'DejaVu Sans', sans-serif").size(13).color("#222"))
        .legend(
            Legend::new().orientation(Orientation::Horizontal).x(0.0).y(-0.2).trace_group_gap(2),
        )
        .show_legend(true)
        .margin(Margin::new().left(16).right(16).top(36).bottom(16))
        .hover_mode(HoverMode::Closest)
        .drag_mode(DragMode::False)
        .separators(".\u{202f}")
        .paper_background_color("#fff")
        .plot_background_color("#fff")
}

fn configuration(figure: &Figure) -> Configuration {
    let image =
        ToImageButtonOptions::new().format(ImageButtonFormats::Svg).filename(&file(&figure.id));
    Configuration::new()
        .display_logo(false)
        .show_tips(false)
        .to_image_button_options(image)
        .mode_bar_buttons_to_remove(vec![ModeBarButtonName::Select2d, ModeBarButtonName::Lasso2d])
}

/// A figure's id as a file's name, without an ending.
pub fn file(id: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '_' };
    let name: String = id.chars().take(80).map(fit).collect();
    if name.trim_matches('.').is_empty() { "figure".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use serde_json::Value;
    use study::figure::Report;

    /// What is drawn of the report's figure of an id.
    pub(super) fn drawn(report: &Report, id: &str) -> (Value, Vec<String>) {
        let figure = report.figures.iter().find(|figure| figure.id == id).unwrap();
        let drawn = draw(figure, &Palette::of(report)).unwrap();
        (serde_json::from_str(&drawn.json).unwrap(), drawn.notes)
    }

    #[test]
    fn the_library_is_one_script_that_nothing_ends_early() {
        let library = library();
        assert!(library.starts_with("<script") && library.contains("plotly.js v"));
        assert_eq!(library.matches("</script").count(), 1);
        assert!(!library.contains("MathJax.org"), "the formula setter stays out");
    }

    #[test]
    fn a_table_is_not_drawn() {
        let report = sample::report();
        let palette = Palette::of(&report);
        let drawn: Vec<bool> =
            report.figures.iter().map(|figure| draw(figure, &palette).is_some()).collect();
        assert_eq!(drawn.iter().filter(|drawn| !**drawn).count(), 2);
    }

    #[test]
    fn an_id_is_a_files_name() {
        assert_eq!(file("fig-6.1"), "fig-6.1");
        assert_eq!(file("../a b"), ".._a_b");
        assert_eq!(file(".."), "figure");
    }
}
