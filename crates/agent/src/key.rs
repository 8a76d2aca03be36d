//! The key that agents and controller share: 32 bytes, as 64 hexadecimal digits in a file that
//! only its owner can read.

use crate::Error;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// A pre-shared key. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// From its bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for Noise.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From 64 hexadecimal digits; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Makes a new key and writes its file, which must not be there.
    ///
    /// # Errors
    /// Where it is there, or cannot be written.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let failed = |error: io::Error| Error::Key(format!("cannot write {shown}: {error}"));
        let mut bytes = [0; 32];
        File::open("/dev/urandom")
            .and_then(|mut random| random.read_exact(&mut bytes))
            .map_err(|error| Error::Key(format!("cannot read /dev/urandom: {error}")))?;
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut file =
            File::options().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        writeln!(file, "{digits}").and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(Self(bytes))
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// Where it cannot be read, holds no key, or others may read it too.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let failed = |error: io::Error| Error::Key(format!("cannot read {shown}: {error}"));
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 && !is_credential(path) {
            return Err(Error::Key(format!(
                "{shown} can be read by others: chmod 600 {shown}, and change the key"
            )));
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        Self::parse(&text).ok_or_else(|| {
            Error::Key(format!("{shown} holds no key: 64 hexadecimal digits are one"))
        })
    }
}

/// Whether systemd handed it over (LoadCredential): only this service can enter that folder, where
/// an access list for its user looks like a group's right.
fn is_credential(path: &Path) -> bool {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
    folder.is_some_and(|folder| path.parent() == Some(Path::new(&folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_64_digits_and_never_shown() {
        let key = Key::parse(&"0f".repeat(32)).unwrap();
        assert_eq!(key, Key::new([0x0f; 32]));
        assert_eq!(format!("{key:?}"), "Key(…)");
        for wrong in ["", "0f", &"0g".repeat(32), &"+f".repeat(32), &"0f".repeat(33)] {
            assert_eq!(Key::parse(wrong), None, "{wrong}");
        }
    }
}
