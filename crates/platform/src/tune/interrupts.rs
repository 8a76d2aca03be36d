//! The kernel's table of interrupts (`/proc/interrupts`) and where they go (`/proc/irq`).

use super::cpus::{among, online};
use super::place::{Place, Placed, set_all};
use super::{Before, TuneError, live};
use crate::host::{Tree, fields, lines, parse_number, text};
use model::{Absent, Affinity, Interrupt, Interrupts, Need};

/// The most lines and counts that are given: a machine with thousands of CPUs has millions.
const MOST_LINES: usize = 4096;
const MOST_COUNTS: usize = 1 << 20;
/// Bytes of a name that are given.
const LONGEST_NAME: usize = 200;

/// Reads the table, with each interrupt's CPUs.
///
/// # Errors
/// Where `/proc/interrupts` cannot be read.
pub fn interrupts(tree: &Tree) -> Result<Interrupts, TuneError> {
    let path = "/proc/interrupts";
    let mut buffer = Vec::new();
    let bytes = tree
        .read(path, &mut buffer)
        .map_err(|error| TuneError::Refused { what: path.to_owned(), why: error.to_string() })?;
    let mut table = parse(bytes);
    for line in &mut table.lines {
        if let Some(irq) = line.number() {
            let path = affinity_path(irq);
            line.affinity = tree
                .read_text(&path)
                .map(Affinity)
                .map_err(|error| Absent::from_io(&path, Need::Root, &error));
        }
    }
    Ok(table)
}

/// Gives every interrupt that is for `part` (see [`Interrupt::is_for`]) these CPUs.
///
/// # Errors
/// Where there is no such interrupt or CPU, or the kernel refuses one of them; then all are as
/// they were.
pub fn place_interrupts(
    tree: &Tree,
    part: &str,
    cpus: &str,
    before: Before<'_>,
) -> Result<Vec<Placed>, TuneError> {
    live(tree)?;
    let cpus = among(cpus, &online(tree)?)?;
    let places: Vec<(Place, String)> = interrupts(tree)?
        .lines
        .iter()
        .filter(|line| line.is_for(part))
        .filter_map(|line| {
            let irq = line.number()?;
            Some((Place::Interrupt(irq), format!("interrupt {irq} ({})", line.action)))
        })
        .collect();
    if places.is_empty() {
        return Err(TuneError::NotFound(format!(
            "no interrupt in /proc/interrupts matches {part:?}"
        )));
    }
    set_all(places, &cpus, before)
}

/// The file that tells and takes an interrupt's CPUs.
pub(super) fn affinity_path(irq: u32) -> String {
    format!("/proc/irq/{irq}/smp_affinity_list")
}

/// The first line names the CPUs that are online. A line of an interrupt (`kernel/irq/proc.c`):
/// its number, a count for each CPU, the chip and the line there, then, behind two spaces at
/// least, who handles it.
fn parse(bytes: &[u8]) -> Interrupts {
    let mut lines = lines(bytes);
    let cpus: Vec<u32> = fields(lines.next().unwrap_or_default())
        .filter_map(|word| u32::try_from(parse_number(word.strip_prefix(b"CPU")?)?).ok())
        .collect();
    let mut table = Interrupts { lines: Vec::new(), left_out: 0, cpus };
    let most = MOST_LINES.min(MOST_COUNTS / table.cpus.len().max(1));
    for line in lines.filter_map(|line| parse_line(line, table.cpus.len())) {
        if table.lines.len() < most {
            table.lines.push(line);
        } else {
            table.left_out += 1;
        }
    }
    table
}

fn parse_line(line: &[u8], cpus: usize) -> Option<Interrupt> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, rest) = line.split_at_checked(colon)?;
    let mut rest = rest.get(1..)?;
    let mut counts = Vec::new();
    while counts.len() < cpus
        && let Some(count) = fields(rest).next().and_then(parse_number)
    {
        counts.push(count);
        let start = rest.iter().position(u8::is_ascii_digit)?;
        let digits = rest.get(start..)?;
        let length = digits.iter().position(|byte| !byte.is_ascii_digit());
        rest = digits.get(length.unwrap_or(digits.len())..)?;
    }
    let name = shown(name.trim_ascii());
    let numbered = parse_number(name.as_bytes()).is_some();
    // `%*s  %s`: the gap is where the action begins, since no chip's name has one.
    let gap = rest.windows(2).rposition(|pair| pair == b"  ").filter(|_| numbered);
    let (source, action) = rest.split_at_checked(gap.unwrap_or(rest.len()))?;
    let source: Vec<String> = fields(source).map(shown).collect();
    Some(Interrupt {
        name,
        counts,
        source: source.join(" "),
        action: shown(action.trim_ascii()),
        affinity: Err(Absent::NotApplicable("it has no number, so it cannot be moved".into())),
    })
}

fn shown(bytes: &[u8]) -> String {
    text(bytes.get(..LONGEST_NAME).unwrap_or(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;
    use std::path::Path;

    /// From Linux 6.18 in a virtual machine, and of a dom0 by xen's `drivers/xen/events`.
    const TABLE: &[u8] = b"           CPU0       CPU3       \n\
        \x20 8:          0         11  IO-APIC   8-edge      rtc0\n\
        \x20 9:          0          2  IO-APIC   9-fasteoi   acpi, snd hda\n\
        \x2038:         78      44511 PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0\n\
        \x2054:          5          6   xen-dyn    -event     vif1.0-q0-rx\n\
        \x2055:          5          6   xen-dyn    -event     \n\
        LOC:      62843      65493   Local timer interrupts\n\
        ERR:          3\n";

    #[test]
    fn the_table_is_taken_apart() {
        let table = parse(TABLE);
        assert_eq!((&table.cpus[..], table.left_out), (&[0, 3][..], 0));
        let rows: Vec<_> = table
            .lines
            .iter()
            .map(|line| (&*line.name, &line.counts[..], &*line.source, &*line.action))
            .collect();
        assert_eq!(
            rows,
            [
                ("8", &[0, 11][..], "IO-APIC 8-edge", "rtc0"),
                ("9", &[0, 2], "IO-APIC 9-fasteoi", "acpi, snd hda"),
                ("38", &[78, 44511], "PCI-MSIX-0000:00:03.0 1-edge", "virtio2-input.0"),
                ("54", &[5, 6], "xen-dyn -event", "vif1.0-q0-rx"),
                ("55", &[5, 6], "xen-dyn -event", ""),
                ("LOC", &[62843, 65493], "Local timer interrupts", ""),
                ("ERR", &[3], "", ""),
            ]
        );
    }

    #[test]
    fn this_machines_table_is_read_and_a_saved_one_is_not_changed() {
        let table = interrupts(&Tree::open(Path::new("/")).unwrap()).unwrap();
        assert!(!table.cpus.is_empty() && table.lines.iter().any(|line| line.name == "LOC"));
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("proc")).unwrap();
        std::fs::write(folder.path().join("proc/interrupts"), TABLE).unwrap();
        let saved = Tree::open(folder.path()).unwrap();
        assert_eq!(interrupts(&saved).unwrap().lines.len(), 7);
        assert!(matches!(
            place_interrupts(&saved, "rtc0", "0", &mut |_| Ok(())),
            Err(TuneError::Saved)
        ));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let tree = Tree::open(Path::new("/")).unwrap();
        let nothing = place_interrupts(&tree, "no-such-device", "0", &mut |_| Ok(()))
            .unwrap_err()
            .to_string();
        assert!(nothing.contains("no-such-device"), "{nothing}");
        let nowhere =
            place_interrupts(&tree, "rtc0", "8000", &mut |_| Ok(())).unwrap_err().to_string();
        assert!(nowhere.contains("CPU 8000 not found: expected 0"), "{nowhere}");
    }

    #[test]
    fn an_interrupt_moves_and_comes_back_or_the_kernel_says_why_not() {
        let tree = Tree::open(Path::new("/")).unwrap();
        let table = interrupts(&tree).unwrap();
        let last = table.cpus.last().unwrap().to_string();
        let is_one = |line: &&Interrupt| line.number().is_some() && !line.action.contains(',');
        let mut refusals = Vec::new();
        for line in table.lines.iter().filter(is_one).filter(|line| line.is_for(&line.action)) {
            let now = || tree.read_text(&affinity_path(line.number().unwrap())).unwrap();
            let before = now();
            match place_interrupts(&tree, &line.action, &last, &mut |_| Ok(())) {
                Ok(placed) => {
                    assert!(placed.iter().any(|it| it.was == before && it.now == last));
                    assert_eq!(now(), last, "{line:?}");
                    for one in placed.iter().rev() {
                        one.restore().unwrap();
                    }
                    assert_eq!(now(), before, "{line:?}");
                    return;
                }
                Err(error) => refusals.push(error.to_string()),
            }
            assert_eq!(now(), before, "{line:?}");
        }
        assert!(!refusals.is_empty());
        for refusal in refusals {
            assert!(refusal.starts_with("interrupt ") && refusal.contains(": "), "{refusal}");
        }
    }

    #[test]
    fn hostile_input() {
        survives(TABLE, |bytes| {
            let _ = parse(bytes);
        });
    }
}
