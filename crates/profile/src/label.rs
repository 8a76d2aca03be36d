//! Names as they are shown: escaped, and cut. Everything that is written out goes through here.

use crate::image::ImageId;
use crate::place::VmIndex;
use crate::profile::Profile;
use crate::symbols::Naming;
use model::{escape, shorten};

/// Characters of a path or a function's name.
const LONG: usize = 200;
/// Characters of a VM's or a process's name.
const SHORT: usize = 64;

/// A name that came from outside, of at most `most` characters.
fn shown(bytes: &[u8], most: usize) -> String {
    // What is cut anyway need not be escaped.
    let bytes = bytes.get(..most * 4).unwrap_or(bytes);
    shorten(&escape(&String::from_utf8_lossy(bytes)), most).into_owned()
}

/// A note, a reason or another sentence.
pub(crate) fn sentence(text: &str) -> String {
    shown(text.as_bytes(), LONG)
}

impl Profile {
    /// A VM's name as it is shown; the host is `host`, and a VM of that name is `VM host`.
    #[must_use]
    pub fn shown_vm(&self, vm: VmIndex) -> String {
        let name = shown(self.vm(vm).as_bytes(), SHORT);
        if vm != VmIndex::HOST && name == "host" { "VM host".to_owned() } else { name }
    }

    /// A process's or thread's name as it is shown.
    #[must_use]
    pub fn shown_name(&self, name: crate::NameId) -> String {
        shown(self.name(name), SHORT)
    }

    /// An image as it is shown: with its directories, or without.
    #[must_use]
    pub fn shown_image(&self, image: ImageId, full: bool) -> String {
        let path = self.image(image);
        let file = path.rsplit(|&byte| byte == b'/').next().filter(|file| !file.is_empty());
        let cut = !full && self.kind(image) == crate::Kind::File;
        shown(if cut { file.unwrap_or(path) } else { path }, LONG)
    }
}

/// The image that has a function: its module of the kernel, where the symbols tell one.
pub(crate) fn image(
    profile: &Profile,
    image: ImageId,
    naming: Option<&Naming>,
    full: bool,
) -> String {
    match naming {
        Some(Ok(function)) => match &function.module {
            Some(module) => format!("[{}]", shown(module.as_bytes(), SHORT)),
            None => profile.shown_image(image, full),
        },
        _ => profile.shown_image(image, full),
    }
}

/// A function's name; where it has none, its image and the address in it.
pub(crate) fn symbol(
    profile: &Profile,
    image: ImageId,
    address: Option<u64>,
    naming: Option<&Naming>,
) -> String {
    match (naming, address) {
        (Some(Ok(function)), _) => shown(function.name.as_bytes(), LONG),
        (_, Some(address)) => format!("{}+{address:#x}", profile.shown_image(image, false)),
        (_, None) => profile.shown_image(image, false),
    }
}
