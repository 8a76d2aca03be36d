//! The pod that a container of Kubernetes is in.

use super::name;
use crate::host::{Tree, text};

/// Where CRI-O, containerd and K3s keep the settings by which a container's runtime was called.
const SETTINGS: [(&str, &str); 3] = [
    ("/run/containers/storage/overlay-containers/", "/userdata/config.json"),
    ("/run/containerd/io.containerd.runtime.v2.task/k8s.io/", "/config.json"),
    ("/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/", "/config.json"),
];
/// The annotations with the pod's name: CRI-O's and containerd's.
const NAMES: [&str; 2] = ["\"io.kubernetes.pod.name\"", "\"io.kubernetes.cri.sandbox-name\""];

/// The name of the pod of the container at `path`, else the first 8 digits of the pod's UID;
/// `None` where it is in no pod.
pub(super) fn of(tree: &Tree, path: &str, buffer: &mut Vec<u8>) -> Option<String> {
    let uid = name::pod(path)?;
    let container = name::id(path)?;
    let named = SETTINGS.iter().find_map(|(before, after)| {
        let settings = tree.read(&format!("{before}{container}{after}"), buffer).ok()?;
        NAMES.iter().find_map(|key| value(settings, key.as_bytes()))
    });
    named.or_else(|| uid.get(..8).map(str::to_owned))
}

/// The value of a key of JSON that is a string without escapes, as names in Kubernetes are.
/// `key` is in its quotes; where it is part of a string, its quotes are escaped.
fn value(json: &[u8], key: &[u8]) -> Option<String> {
    let mut from = 0;
    while let Some(at) = find(json.get(from..)?, key) {
        let (start, end) = (from + at, from + at + key.len());
        from = end;
        if start > 0 && json.get(start - 1) == Some(&b'\\') {
            continue;
        }
        let Some(rest) = json.get(end..)?.trim_ascii_start().strip_prefix(b":") else { continue };
        let Some(rest) = rest.trim_ascii_start().strip_prefix(b"\"") else { continue };
        let name = rest.get(..rest.iter().position(|byte| *byte == b'"')?)?;
        return (!name.is_empty() && !name.contains(&b'\\')).then(|| text(name));
    }
    None
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    const JSON: &[u8] = br#"{"process":{"env":["A=\"io.kubernetes.pod.name\":\"no\""]},
        "annotations":{"io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.name" : "web-1"}}"#;

    #[test]
    fn a_pods_name_is_an_annotation() {
        assert_eq!(value(JSON, NAMES[0].as_bytes()).as_deref(), Some("web-1"));
        assert_eq!(value(JSON, NAMES[1].as_bytes()), None);
        assert_eq!(value(br#"{"io.kubernetes.pod.name":7}"#, NAMES[0].as_bytes()), None);
    }

    #[test]
    fn hostile_input() {
        survives(JSON, |bytes| {
            let _ = value(bytes, NAMES[0].as_bytes());
        });
    }
}
