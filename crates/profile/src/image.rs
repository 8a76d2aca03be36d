//! Images: what code a processor ran, a file mapped by a process or what stands for one.

use crate::names::{NameId, Names};
use ahash::AHashMap;
use model::BuildId;

/// Different images that are kept.
const MOST: usize = 1 << 18;
/// The longest path that Linux knows (PATH_MAX).
pub(crate) const LONGEST_PATH: usize = 4096;
/// The longest build id.
const LONGEST_ID: usize = 20;

/// An image by its number in [`crate::Profile::image`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(pub(crate) u32);

impl ImageId {
    /// What stands for all images that found no room.
    pub(crate) const UNKNOWN: Self = Self(0);
}

/// What an image is, and with it what its addresses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A file; addresses are offsets in it.
    File,
    /// The kernel or a module of it; addresses are its own.
    Kernel,
    /// Memory that no file stands behind: a just-in-time compiler's code, the vDSO; addresses
    /// are the process's.
    Memory,
    /// A guest's processes, of whose maps nothing is known; there is no address.
    Guest,
    /// The hypervisor; addresses are its own.
    Hypervisor,
    /// No map was there at the address, or its process is not known; there is no address.
    Unmapped,
}

impl Kind {
    /// Whether an address says anything of such an image.
    #[must_use]
    pub(crate) fn has_addresses(self) -> bool {
        !matches!(self, Self::Guest | Self::Unmapped)
    }
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Image {
    /// The stream whose kernel mapped it.
    pub(crate) stream: u16,
    /// What it is.
    pub(crate) kind: Kind,
    /// Its path or a name in brackets.
    pub(crate) name: NameId,
    /// Its build id, where the kernel told it.
    pub(crate) build_id: Option<BuildId>,
}

/// All images seen, each kept once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Images {
    ids: AHashMap<Image, ImageId>,
    all: Vec<Image>,
    /// Images that found no room.
    pub(crate) dropped: u64,
}

impl Images {
    /// The image's number.
    pub(crate) fn id(&mut self, image: Image) -> ImageId {
        if self.all.is_empty() {
            self.keep(Image {
                stream: 0,
                kind: Kind::Unmapped,
                name: Names::UNKNOWN,
                build_id: None,
            });
        }
        if let Some(&id) = self.ids.get(&image) {
            return id;
        }
        if self.all.len() >= MOST {
            self.dropped += 1;
            return ImageId::UNKNOWN;
        }
        self.keep(image)
    }

    fn keep(&mut self, image: Image) -> ImageId {
        let id = ImageId(u32::try_from(self.all.len()).unwrap_or(0));
        self.all.push(image.clone());
        self.ids.insert(image, id);
        id
    }

    /// The image of a number that [`Images::id`] gave.
    pub(crate) fn get(&self, id: ImageId) -> Option<&Image> {
        self.all.get(id.0 as usize)
    }
}

/// What a map's path says that it is.
pub(crate) fn kind(path: &[u8], kernel: bool) -> Kind {
    if kernel {
        return Kind::Kernel;
    }
    let anonymous: [&[u8]; 6] =
        [b"//anon", b"[", b"/dev/zero", b"/anon_hugepage", b"/memfd:", b"/SYSV"];
    if path.is_empty() || anonymous.iter().any(|prefix| path.starts_with(prefix)) {
        Kind::Memory
    } else {
        Kind::File
    }
}

/// The build id as it is kept: without the zeros that the kernel fills it up with, and none
/// where it has nothing but zeros.
pub(crate) fn build_id(told: Option<BuildId>) -> Option<BuildId> {
    let BuildId(mut bytes) = told?;
    bytes.truncate(LONGEST_ID);
    bytes.iter().any(|&byte| byte != 0).then_some(BuildId(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_path_is() {
        assert_eq!(kind(b"/usr/sbin/httpd", false), Kind::File);
        assert_eq!(kind(b"[vdso]", false), Kind::Memory);
        assert_eq!(kind(b"//anon", false), Kind::Memory);
        assert_eq!(kind(b"/memfd:doublemapper (deleted)", false), Kind::Memory);
        assert_eq!(kind(b"[kernel.kallsyms]_text", true), Kind::Kernel);
    }

    #[test]
    fn an_image_is_one_by_path_build_id_and_stream() {
        let (mut images, mut names) = (Images::default(), Names::default());
        let name = names.id(b"/bin/a", 64);
        let one = Image { stream: 0, kind: Kind::File, name, build_id: None };
        let other = Image { build_id: Some(BuildId(vec![1])), ..one.clone() };
        let id = images.id(one.clone());
        assert_eq!(images.id(one.clone()), id);
        assert_ne!(images.id(other), id);
        assert_ne!(images.id(Image { stream: 1, ..one }), id);
    }
}
