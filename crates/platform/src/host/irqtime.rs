//! Whether the kernel accounts interrupt time apart from threads' time.

use super::text::{fields, lines};
use super::tree::Tree;
use model::{Absent, Reading};
use std::io::Read;

/// More than any kernel's configuration.
const LONGEST: u64 = 4 << 20;

/// Looks into the kernel's configuration and its command line.
pub(super) fn read(tree: &Tree) -> Reading<bool> {
    let mut buffer = Vec::new();
    let command_line = tree.read("/proc/cmdline", &mut buffer).unwrap_or_default();
    // Switches it off at boot, whatever the configuration says.
    if fields(command_line).any(|word| word == b"tsc=noirqtime") {
        return Ok(false);
    }
    let release = tree.read_text("/proc/sys/kernel/osrelease").unwrap_or_default();
    let plain = [format!("/boot/config-{release}"), format!("/lib/modules/{release}/config")];
    if let Ok(packed) = tree.read("/proc/config.gz", &mut buffer) {
        let mut config = Vec::new();
        let _ = flate2::read::GzDecoder::new(packed).take(LONGEST).read_to_end(&mut config);
        if let Some(answer) = parse(&config) {
            return Ok(answer);
        }
    }
    for path in &plain {
        if let Some(answer) = tree.read(path, &mut buffer).ok().and_then(parse) {
            return Ok(answer);
        }
    }
    let [first, second] = plain;
    Err(Absent::NotFound(
        format!("the kernel's configuration (/proc/config.gz, {first}, {second})").into(),
    ))
}

/// `None` where this is no kernel configuration.
fn parse(config: &[u8]) -> Option<bool> {
    let mut is_config = false;
    for line in lines(config) {
        if line == b"CONFIG_IRQ_TIME_ACCOUNTING=y" {
            return Some(true);
        }
        is_config |= line.starts_with(b"CONFIG_");
    }
    is_config.then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    #[test]
    fn a_configuration_says_yes_or_no() {
        assert_eq!(parse(b"CONFIG_64BIT=y\nCONFIG_IRQ_TIME_ACCOUNTING=y\n"), Some(true));
        assert_eq!(
            parse(b"CONFIG_64BIT=y\n# CONFIG_IRQ_TIME_ACCOUNTING is not set\n"),
            Some(false)
        );
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn hostile_input() {
        survives(b"CONFIG_64BIT=y\nCONFIG_IRQ_TIME_ACCOUNTING=y\n", |bytes| {
            let _ = parse(bytes);
        });
    }
}
