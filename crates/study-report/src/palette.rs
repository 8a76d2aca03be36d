//! Which colour, dash and marker a name has: the same in all figures of a page.

use plotly::common::{DashType, MarkerSymbol};
use study::figure::{Drawing, Report};

/// Okabe and Ito's colours, which the colour-blind tell apart; the faintest on white last.
const COLOURS: [(u8, u8, u8); 8] = [
    (0x00, 0x9e, 0x73),
    (0x00, 0x72, 0xb2),
    (0xd5, 0x5e, 0x00),
    (0xcc, 0x79, 0xa7),
    (0x56, 0xb4, 0xe9),
    (0xe6, 0x9f, 0x00),
    (0x44, 0x44, 0x44),
    (0xf0, 0xe4, 0x42),
];
/// Colours of the parts of a whole: those that no system has, and a light grey.
pub const PARTS: [(u8, u8, u8); 6] =
    [COLOURS[4], COLOURS[5], COLOURS[3], COLOURS[6], COLOURS[7], (0xbd, 0xbd, 0xbd)];
/// The systems that have the first colours, whether a page shows them or not.
const SYSTEMS: [&str; 3] = ["native", "xen", "kvm"];

/// The names of a page in the order in which they come.
pub struct Palette {
    /// What has a colour: a system, or the whole name where it names none.
    subjects: Vec<String>,
    /// What the names say besides the system.
    aspects: Vec<String>,
}

/// How a line or ring is drawn. The colour is its system's; marker and dash tell it from others
/// without colour too.
pub struct Look {
    pub colour: (u8, u8, u8),
    pub dash: DashType,
    pub marker: MarkerSymbol,
}

impl Look {
    /// The colour.
    pub fn solid(&self) -> String {
        css(self.colour)
    }

    /// The colour that lets what is behind it through.
    pub fn translucent(&self, opacity: f64) -> String {
        let (red, green, blue) = self.colour;
        format!("rgba({red},{green},{blue},{opacity})")
    }
}

/// A colour as CSS has it.
pub fn css((red, green, blue): (u8, u8, u8)) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

impl Palette {
    /// The palette of a page.
    pub fn of(report: &Report) -> Self {
        let subjects = SYSTEMS.map(str::to_owned).to_vec();
        let mut palette = Self { subjects, aspects: vec![String::new()] };
        for figure in &report.figures {
            let names: Vec<&str> = match &figure.drawing {
                Drawing::Lines { lines, .. } => lines.iter().map(|l| l.name.as_str()).collect(),
                Drawing::Kiviat { rings, .. } => rings.iter().map(|r| r.name.as_str()).collect(),
                Drawing::Stacks { .. } | Drawing::Table { .. } => Vec::new(),
            };
            for (subject, aspect) in names.into_iter().map(parts) {
                place(&mut palette.subjects, subject);
                place(&mut palette.aspects, aspect);
            }
        }
        palette
    }

    /// How a name is drawn.
    pub fn look(&self, name: &str) -> Look {
        let (subject, aspect) = parts(name);
        let at = |names: &[String], name| names.iter().position(|n| *n == name).unwrap_or(0);
        let (subject, aspect) = (at(&self.subjects, subject), at(&self.aspects, aspect));
        Look {
            colour: COLOURS[subject % COLOURS.len()],
            dash: dash(subject + aspect),
            marker: marker(subject + SYSTEMS.len() * aspect),
        }
    }
}

fn place(names: &mut Vec<String>, name: String) {
    if !names.contains(&name) {
        names.push(name);
    }
}

/// A name's system and what else it says: the first of its words that is a system's name, and the
/// other words. A name without one is its own subject.
fn parts(name: &str) -> (String, String) {
    let name = name.to_lowercase();
    let words = || name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    match words().find(|word| SYSTEMS.contains(word)) {
        Some(system) => {
            let rest: Vec<&str> = words().filter(|word| *word != system).collect();
            (system.to_owned(), rest.join(" "))
        }
        None => (name, String::new()),
    }
}

fn dash(at: usize) -> DashType {
    match at % 6 {
        0 => DashType::Solid,
        1 => DashType::Dash,
        2 => DashType::Dot,
        3 => DashType::DashDot,
        4 => DashType::LongDash,
        _ => DashType::LongDashDot,
    }
}

fn marker(at: usize) -> MarkerSymbol {
    match at % 10 {
        0 => MarkerSymbol::Circle,
        1 => MarkerSymbol::Square,
        2 => MarkerSymbol::Diamond,
        3 => MarkerSymbol::TriangleUp,
        4 => MarkerSymbol::X,
        5 => MarkerSymbol::TriangleDown,
        6 => MarkerSymbol::Cross,
        7 => MarkerSymbol::Star,
        8 => MarkerSymbol::TriangleLeft,
        _ => MarkerSymbol::Pentagon,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_system_has_its_colour_in_every_figure() {
        let palette = Palette::of(&sample::report());
        let colour = |name| palette.look(name).colour;
        assert_eq!(colour("Xen"), colour("Xen, guest + IDD"));
        assert_eq!(colour("native"), COLOURS[0]);
        assert_eq!(colour("guest of KVM"), COLOURS[2]);
        assert_ne!(colour("Xen"), colour("KVM"));
    }

    #[test]
    fn without_colour_names_are_told_apart() {
        let mut report = sample::report();
        let Drawing::Lines { lines, .. } = &mut report.figures[0].drawing else { panic!() };
        let names: Vec<String> = ["native", "Xen", "KVM"]
            .iter()
            .flat_map(|system| ["500 B", "1000 B"].map(|size| format!("{system}, {size}")))
            .chain(["native".to_owned(), "Xen".to_owned(), "KVM".to_owned()])
            .collect();
        let line = lines[0].clone();
        *lines =
            names.iter().map(|n| study::figure::Line { name: n.clone(), ..line.clone() }).collect();
        let palette = Palette::of(&report);
        let mut looks: Vec<String> = names
            .iter()
            .map(|n| palette.look(n))
            .map(|look| format!("{:?} {:?}", look.dash, look.marker))
            .collect();
        looks.sort();
        looks.dedup();
        assert_eq!(looks.len(), names.len());
    }
}
