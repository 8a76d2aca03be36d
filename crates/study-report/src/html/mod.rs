//! The page: one file that works without a network.

mod figure;
mod table;

use crate::palette::Palette;
use crate::plot;
use maud::{DOCTYPE, Markup, PreEscaped, html as markup};
use model::escape;
use study::figure::{Failure, Machine, Remark, Report, Runs};

/// Nothing is loaded, whatever a name in the report says.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      img-src data: blob:";

/// The report as one HTML file with all that it needs, for screens and for paper.
#[must_use]
pub fn html(report: &Report) -> String {
    let palette = Palette::of(report);
    let page = markup! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (escape(&report.title)) " – vmeter" }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body {
                main {
                    (head(report))
                    @for figure in &report.figures { (figure::figure(figure, &palette)) }
                    @if report.figures.is_empty() { p { "No figures." } }
                    (foot(report))
                }
                (PreEscaped(plot::library()))
                script { (PreEscaped(include_str!("page.js"))) }
            }
        }
    };
    page.into_string()
}

/// What is read first: the question, what came out, and what to know before believing it.
fn head(report: &Report) -> Markup {
    let Runs { planned, valid, .. } = report.runs;
    markup! {
        header {
            p.id { (escape(&report.id)) }
            h1 { (escape(&report.title)) }
            @if !report.question.is_empty() { p.question { (escape(&report.question)) } }
            p.facts {
                (valid) " of " (planned) " runs valid"
                @if !report.remarks.is_empty() {
                    ", " a href="#runs-to-look-at" { (report.remarks.len()) " to look at" }
                }
                @if let Some((began, ended)) = &report.measured {
                    " · " (escape(began)) " to " (escape(ended))
                }
                " · vmeter " (escape(&report.vmeter))
            }
        }
        @if !report.findings.is_empty() {
            section.findings { h2 { "Findings" } (list(&report.findings)) }
        }
        @if !report.warnings.is_empty() {
            section.warnings {
                h2 { "Before you believe the figures" }
                (list(&report.warnings))
            }
        }
        noscript { p.warnings { "The figures need JavaScript. Their data stand beneath them." } }
        @if report.figures.len() > 1 {
            nav {
                h2 { "Figures" }
                ul {
                    @for figure in &report.figures {
                        li { a href={ "#" (plot::file(&figure.id)) } { (escape(&figure.title)) } }
                    }
                }
            }
        }
    }
}

/// How it was measured, on what, and what did not work.
fn foot(report: &Report) -> Markup {
    markup! {
        @if !report.remarks.is_empty() { (remarks(&report.remarks)) }
        @if !report.method.is_empty() {
            section {
                h2 { "Method" }
                @for paragraph in &report.method { p { (escape(paragraph)) } }
            }
        }
        @if !report.machines.is_empty() {
            section {
                h2 { "Machines" }
                div.machines { @for machine in &report.machines { (machine_facts(machine)) } }
            }
        }
        @if !report.changes.is_empty() {
            section { h2 { "Changed for the study, and given back" } (list(&report.changes)) }
        }
        @if !report.failures.is_empty() { (failures(&report.failures)) }
        section { h2 { "Runs" } (runs(report.runs)) }
    }
}

fn list(items: &[String]) -> Markup {
    markup! { ul { @for item in items { li { (escape(item)) } } } }
}

fn machine_facts(machine: &Machine) -> Markup {
    markup! {
        div.machine {
            h3 { (escape(&machine.name)) }
            dl {
                @for (name, value) in &machine.facts {
                    dt { (escape(name)) }
                    dd { (escape(value)) }
                }
            }
        }
    }
}

fn remarks(remarks: &[Remark]) -> Markup {
    markup! {
        section id="runs-to-look-at" {
            h2 { "Runs to look at" }
            p { "They count in the figures like all others." }
            div.scroll tabindex="0" {
                table {
                    thead {
                        tr {
                            th.number { "run" }
                            th.number { "block" }
                            th { "what" }
                            th { "to look at" }
                        }
                    }
                    tbody {
                        @for remark in remarks {
                            tr {
                                td.number { (remark.run) }
                                td.number { (remark.block) }
                                td { (escape(&remark.what)) }
                                td.wide { @for reason in &remark.reasons { p { (escape(reason)) } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn failures(failures: &[Failure]) -> Markup {
    markup! {
        section {
            h2 { "Runs that failed" }
            div.scroll tabindex="0" {
                table {
                    thead { tr { th.number { "run" } th { "what" } th { "reason" } } }
                    tbody {
                        @for failure in failures {
                            tr {
                                td.number { (failure.run) }
                                td { (escape(&failure.what)) }
                                td { (escape(&failure.reason)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn runs(runs: Runs) -> Markup {
    let counts = [
        ("planned", runs.planned),
        ("measured and used", runs.valid),
        ("of them at a later attempt, as the first was not valid", runs.again),
        ("measured, but not valid", runs.invalid),
        ("failed", runs.failed),
    ];
    markup! {
        dl.runs { @for (name, count) in counts { dt { (name) } dd { (count) } } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use std::time::{Duration, Instant};

    /// The page without plotly.
    fn page(report: &Report) -> String {
        html(report).replace(&plot::library(), "")
    }

    #[test]
    fn names_cannot_become_markup_or_script() {
        let page = page(&sample::hostile());
        assert_eq!(page.matches("<script").count(), page.matches("</script>").count());
        // Two figures' data and the page's own script.
        assert_eq!(page.matches("<script").count(), 3);
        assert!(!page.contains("<img") && !page.contains("\u{1b}"));
        let shown = page.matches("&lt;/script&gt;&lt;script&gt;").count();
        assert!(shown > 20, "{shown}");
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        let page = page(&sample::report());
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains(" src="));
    }

    #[test]
    fn an_empty_report_is_a_page() {
        let page = page(&sample::empty());
        assert!(page.contains("No figures.") && page.contains("0 of 0 runs valid"));
        assert!(!page.contains("<h2>Findings") && !page.contains("<h2>Machines"));
    }

    #[test]
    fn ten_thousand_points_are_no_work() {
        let report = sample::large();
        let begin = Instant::now();
        let page = html(&report);
        let took = begin.elapsed();
        println!("{took:?}, {} bytes", page.len());
        // Far below a second when optimised; this is a bound for a busy machine and a debug build.
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}
