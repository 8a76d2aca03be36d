//! Events that a machine's PMUs name themselves, below /sys/bus/event_source/devices.

use model::Cpus;
use std::fs;
use std::path::Path;

/// `PMU/TERM=VALUE,…/` or `PMU/NAME/`: the PMU's type, and config, config1 and config2. `None`
/// where there is no such PMU, event or term.
pub(crate) fn event(root: &Path, name: &str) -> Option<(u32, [u64; 3])> {
    let (pmu, terms) = name.strip_suffix('/')?.split_once('/')?;
    if !is_plain(pmu) {
        return None;
    }
    let device = root.join("sys/bus/event_source/devices").join(pmu);
    let kind = fs::read_to_string(device.join("type")).ok()?.trim().parse().ok()?;
    let mut config = [0; 3];
    for term in terms.split(',') {
        let named = is_plain(term).then(|| fs::read_to_string(device.join("events").join(term)));
        match named.and_then(Result::ok) {
            Some(inner) => {
                for term in inner.trim().split(',') {
                    set(&device, term, &mut config)?;
                }
            }
            None => set(&device, term, &mut config)?,
        }
    }
    Some((kind, config))
}

/// The type of the PMU that a CPU belongs to, where CPUs are of several kinds: each kind's PMU
/// (`cpu_core`, `cpu_atom`) then lists its `cpus`.
pub(crate) fn core(root: &Path, cpu: u32) -> Option<u32> {
    let devices = fs::read_dir(root.join("sys/bus/event_source/devices")).ok()?;
    let device = devices.flatten().map(|entry| entry.path()).find(|device| {
        let is_core =
            device.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"cpu_"));
        let cpus = fs::read_to_string(device.join("cpus")).unwrap_or_default();
        is_core && Cpus::parse(&cpus).is_some_and(|cpus| cpus.contains(cpu))
    })?;
    fs::read_to_string(device.join("type")).ok()?.trim().parse().ok()
}

/// A file name that leads nowhere else.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Puts a term's value where the PMU's `format` says: `config:0-7,32-35`, lowest bits first.
fn set(device: &Path, term: &str, config: &mut [u64; 3]) -> Option<()> {
    let (key, value) = term.trim().split_once('=').unwrap_or((term.trim(), "1"));
    let mut value = match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok()?,
        None => value.parse().ok()?,
    };
    if let Some(place) = ["config", "config1", "config2"].iter().position(|name| *name == key) {
        config[place] = value;
        return Some(());
    }
    if !is_plain(key) {
        return None;
    }
    let format = fs::read_to_string(device.join("format").join(key)).ok()?;
    let (register, ranges) = format.trim().split_once(':')?;
    let place = ["config", "config1", "config2"].iter().position(|name| *name == register)?;
    for range in ranges.split(',') {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        let (low, high): (u32, u32) = (low.parse().ok()?, high.parse().ok()?);
        for bit in low..=high.min(63) {
            config[place] |= (value & 1) << bit;
            value >>= 1;
        }
    }
    // What does not fit was meant otherwise.
    (value == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of an Intel core PMU, in small.
    fn machine() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        let device = place.path().join("sys/bus/event_source/devices/cpu");
        fs::create_dir_all(device.join("format")).unwrap();
        fs::create_dir_all(device.join("events")).unwrap();
        for (name, text) in [
            ("type", "4\n"),
            ("format/event", "config:0-7\n"),
            ("format/umask", "config:8-15\n"),
            ("format/edge", "config:18\n"),
            ("format/wide", "config:0-7,32-35\n"),
            ("format/ldlat", "config1:0-15\n"),
            ("events/mem-loads", "event=0xcd,umask=0x1,ldlat=3\n"),
        ] {
            fs::write(device.join(name), text).unwrap();
        }
        place
    }

    #[test]
    fn terms_go_where_the_pmu_says() {
        let place = machine();
        let of = |name| event(place.path(), name);
        assert_eq!(of("cpu/event=0x3c,umask=0x1,edge/"), Some((4, [0x4_013c, 0, 0])));
        assert_eq!(of("cpu/wide=0x1ff/"), Some((4, [0x1_0000_00ff, 0, 0])));
        assert_eq!(of("cpu/mem-loads/"), Some((4, [0x1cd, 3, 0])));
        assert_eq!(of("cpu/config=7,config2=9/"), Some((4, [7, 0, 9])));
        for wrong in
            ["cpu/event=0x100/", "cpu/nothing/", "other/event=1/", "cpu/../type=1/", "cpu", "//"]
        {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_cpu_of_a_kind_has_a_pmu_of_its_own() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(core(place.path(), 0), None);
        let devices = place.path().join("sys/bus/event_source/devices");
        for (name, kind, cpus) in
            [("cpu_core", "4", "0-3"), ("cpu_atom", "10", "4-6,9"), ("uncore_imc", "22", "0-9")]
        {
            fs::create_dir_all(devices.join(name)).unwrap();
            fs::write(devices.join(name).join("type"), kind).unwrap();
            fs::write(devices.join(name).join("cpus"), cpus).unwrap();
        }
        let found: Vec<_> = [0, 3, 4, 7, 9].map(|cpu| core(place.path(), cpu)).into();
        assert_eq!(found, [Some(4), Some(4), Some(10), None, Some(10)]);
    }

    #[test]
    fn a_list_of_numbers_is_bounded() {}
}
