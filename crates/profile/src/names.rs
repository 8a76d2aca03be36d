//! Names that many records share, each kept once. They come from guests: how many there are and
//! how long is limited.

use ahash::AHashMap;
use std::sync::Arc;

/// Different names that are kept.
const MOST: usize = 1 << 20;
/// Bytes of all names that are kept.
const BYTES: usize = 128 << 20;

/// A name by its number: the same number is the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameId(pub(crate) u32);

/// The names.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    ids: AHashMap<Arc<[u8]>, NameId>,
    names: Vec<Arc<[u8]>>,
    bytes: usize,
    limit: (usize, usize),
    /// Names that found no room, and are [`Names::UNKNOWN`] now.
    pub(crate) dropped: u64,
}

impl Default for Names {
    fn default() -> Self {
        Self::limited(MOST, BYTES)
    }
}

impl Names {
    /// What has no name.
    pub(crate) const UNKNOWN: NameId = NameId(0);
    /// The idle thread's.
    pub(crate) const IDLE: NameId = NameId(1);

    /// At most `most` names of `bytes` bytes together.
    pub(crate) fn limited(most: usize, bytes: usize) -> Self {
        let mut new = Self {
            ids: AHashMap::new(),
            names: vec![],
            bytes: 0,
            limit: (most, bytes),
            dropped: 0,
        };
        for known in [&b"[unknown]"[..], b"swapper"] {
            new.keep(known);
        }
        new
    }

    /// The name's number; it is cut to `longest` bytes.
    pub(crate) fn id(&mut self, name: &[u8], longest: usize) -> NameId {
        let name = name.get(..longest).unwrap_or(name);
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        if self.names.len() >= self.limit.0 || self.bytes + name.len() > self.limit.1 {
            self.dropped += 1;
            return Self::UNKNOWN;
        }
        self.keep(name)
    }

    fn keep(&mut self, name: &[u8]) -> NameId {
        let id = NameId(u32::try_from(self.names.len()).unwrap_or(0));
        let name: Arc<[u8]> = name.into();
        self.bytes += name.len();
        self.names.push(Arc::clone(&name));
        self.ids.insert(name, id);
        id
    }

    /// The bytes, raw.
    pub(crate) fn get(&self, id: NameId) -> &[u8] {
        self.names.get(id.0 as usize).map_or(b"[unknown]", |name| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once_and_cut() {
        let mut names = Names::default();
        let (a, b) = (names.id(b"httpd", 64), names.id(b"httpd", 64));
        assert_eq!(a, b);
        assert_eq!(names.id(b"httpd-worker", 5), a);
        assert_eq!(names.get(a), b"httpd");
        assert_eq!(names.get(Names::IDLE), b"swapper");
    }

    #[test]
    fn names_beyond_the_limit_are_unknown_and_counted() {
        let mut names = Names::limited(3, 1000);
        assert_ne!(names.id(b"a", 64), Names::UNKNOWN);
        assert_eq!(names.id(b"b", 64), Names::UNKNOWN);
        assert_eq!(names.dropped, 1);
        let mut names = Names::limited(1000, 20);
        assert_eq!(names.id(&[b'x'; 64], 64), Names::UNKNOWN);
    }
}
