//! A figure on the page: the drawing, what to read of it, and its data.

use super::table;
use crate::palette::Palette;
use crate::{csv, plot};
use maud::{Markup, PreEscaped, html as markup};
use model::escape;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use study::figure::{Drawing, Figure, Missing};

/// What a data: URI may not hold as it is.
const URI: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'&').add(b'\'');

/// The figure with all that belongs to it.
pub fn figure(figure: &Figure, palette: &Palette) -> Markup {
    let file = plot::file(&figure.id);
    let drawn = plot::draw(figure, palette);
    markup! {
        figure id=(file) data-plot[drawn.is_some()] {
            h2 { (escape(&figure.title)) " " span.id { (escape(&figure.id)) } }
            div.body {
                div.drawing {
                    @if let Some(drawn) = &drawn {
                        div.plot role="img" aria-label=(escape(&figure.title)) {}
                        script type="application/json" { (PreEscaped(inert(&drawn.json))) }
                        @for note in &drawn.notes { p.note { (note) } }
                    } @else {
                        (table::plain(figure))
                    }
                    figcaption { (escape(&figure.caption)) }
                }
                @if let Some(found) = &figure.found {
                    aside { h3 { "What the dissertation found" } p { (escape(found)) } }
                }
            }
            @if !figure.missing.is_empty() { (missing(&figure.missing)) }
            p.actions {
                @if drawn.is_some() { button.save type="button" data-file=(file) { "Save SVG" } " " }
                a download={ (file) ".csv" } href=(link(figure)) { "CSV" }
            }
            @if !matches!(figure.drawing, Drawing::Table { .. }) { (table::data(figure)) }
        }
    }
}

/// JSON that no HTML parser takes for the end of its script, or for the begin of another.
fn inert(json: &str) -> String {
    // Of JSON's own signs `<` is none: it stands in strings only, where it may be escaped.
    json.replace('<', "\\u003c")
}

fn link(figure: &Figure) -> String {
    let table = csv(figure);
    format!("data:text/csv;charset=utf-8,{}", utf8_percent_encode(&table, URI))
}

fn missing(missing: &[Missing]) -> Markup {
    markup! {
        div.missing {
            h3 { "Not measured" }
            dl {
                @for missing in missing {
                    dt { (escape(&missing.what)) }
                    dd { (escape(&missing.reason)) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_a_page_cannot_end_its_script() {
        let text = inert(r#"["</script><!--<script>"]"#);
        assert!(!text.contains('<'));
        let read: Vec<String> = serde_json::from_str(&text).unwrap();
        assert_eq!(read, ["</script><!--<script>"]);
    }
}
