//! The keys that agents and controllers share, each with what it is good for. A key file has a key on
//! each line, 64 hexadecimal digits, then its role and a name; only its owner may read it.

use crate::Error;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::str::FromStr;

/// Maximum size of a key file in bytes.
const MAX_FILE: usize = 64 << 10;
/// Maximum number of keys in a file: an agent tries each with whoever connects.
const MAX_KEYS: usize = 64;
/// Maximum length of a key's name in bytes.
const MAX_NAME: usize = 64;

/// What the holder of a key may ask of an agent; each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads counters and clocks.
    Read,
    /// Runs workloads, samples, and exchanges files.
    Measure,
    /// Changes settings: CPUs of VMs, interrupts and their like.
    Configure,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Measure, Self::Configure];

    /// Its name in key files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Measure => "measure",
            Self::Configure => "configure",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|role| role.word() == text).ok_or_else(|| {
            format!("unknown role `{}`: expected read, measure or configure", model::escape(text))
        })
    }
}

/// Who has shown that it has one of an agent's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Which of the keys.
    pub(crate) key: usize,
    /// What it may ask.
    pub role: Role,
}

/// A pre-shared key. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    bytes: [u8; 32],
    role: Role,
    name: Option<String>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {:?}, …)", self.role, self.name)
    }
}

impl Key {
    /// A key of these bytes, without a name.
    #[must_use]
    pub fn new(bytes: [u8; 32], role: Role) -> Self {
        Self { bytes, role, name: None }
    }

    /// Its bytes, for Noise.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// What its holder may ask.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Parses a line of a key file. A key alone, as files of before roles had, may ask everything.
    ///
    /// # Errors
    /// A phrase that says what is invalid; the digits are not in it.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split_ascii_whitespace();
        let digits = words.next().unwrap_or_default().as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err("expected 64 hexadecimal digits".to_owned());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|error| error.to_string())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|error| error.to_string())?;
        }
        let role = words.next().map_or(Ok(Role::Configure), str::parse)?;
        let name = words.next().map(valid_name).transpose()?;
        match words.next() {
            None => Ok(Self { bytes, role, name }),
            Some(_) => Err("expected a key, its role and a name, and nothing else".to_owned()),
        }
    }

    /// Makes a new key and adds it to a key file, which is made where it is missing.
    ///
    /// # Errors
    /// Where the file is there and `add` is not set, others may read it, it is full, or it cannot be
    /// written.
    pub fn create(path: &Path, role: Role, name: Option<&str>, add: bool) -> Result<Self, Error> {
        let shown = path.display();
        let failed = |error: io::Error| Error::Key(format!("cannot write {shown}: {error}"));
        let mut before = Vec::new();
        if add && path.exists() {
            let (keys, text) = Keys::with_text(path)?;
            if keys.0.len() >= MAX_KEYS {
                return Err(Error::Key(format!("{shown} has {MAX_KEYS} keys, the maximum")));
            }
            before = text;
        }
        let mut bytes = [0; 32];
        rustix::io::retry_on_intr(|| getrandom(&mut bytes, GetRandomFlags::empty()))
            .map_err(|error| Error::Key(format!("cannot get random bytes: {error}")))?;
        let name = name.map(valid_name).transpose().map_err(Error::Key)?;
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let line = format!("{digits} {role} {}", name.as_deref().unwrap_or_default());
        // A file that was written by hand may lack its last newline.
        let start = if before.last().is_none_or(|last| *last == b'\n') { "" } else { "\n" };
        let mut options = File::options();
        options.append(true).mode(0o600).create_new(!add).create(add);
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        let mut file = options.open(path).map_err(failed)?;
        writeln!(file, "{start}{}", line.trim_end())
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        Ok(Self { bytes, role, name })
    }
}

fn valid_name(name: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_plain) {
        let name = model::escape(name);
        let name = model::shorten(&name, MAX_NAME);
        return Err(format!("invalid name of a key `{name}`: expected letters, digits and -_.:@"));
    }
    Ok(name.to_owned())
}

/// The keys of a file, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

impl From<Key> for Keys {
    fn from(key: Key) -> Self {
        Self(vec![key])
    }
}

impl Keys {
    /// Reads a key file; empty lines and those that start with `#` are no keys.
    ///
    /// # Errors
    /// Where it cannot be read, is not a regular file, has a line that is invalid, or others may
    /// read it too.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::with_text(path).map(|(keys, _)| keys)
    }

    fn with_text(path: &Path) -> Result<(Self, Vec<u8>), Error> {
        let shown = path.display();
        let failed = |error: io::Error| Error::Key(format!("cannot read {shown}: {error}"));
        let file = files::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if found.permissions().mode() & 0o077 != 0 && !is_credential(path) {
            return Err(Error::Key(format!(
                "{shown} can be read by others: chmod 600 {shown}, and change the key"
            )));
        }
        if found.size() > MAX_FILE as u64 {
            return Err(Error::Key(format!("{shown} is too large for a key file")));
        }
        let mut text = Vec::new();
        files::read_into(&file, &mut text, MAX_FILE).map_err(failed)?;
        let keys = Self::parse(&String::from_utf8_lossy(&text))
            .map_err(|why| Error::Key(format!("invalid key file {shown}: {why}")))?;
        Ok((keys, text))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lines = (1..).zip(text.lines().map(str::trim));
        let keys = lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(number, line)| Key::parse(line).map_err(|why| format!("line {number}: {why}")))
            .collect::<Result<Vec<_>, _>>()?;
        match keys.len() {
            0 => Err("no key in it: vmeter agent key FILE makes one".to_owned()),
            count if count > MAX_KEYS => Err(format!("{count} keys: expected at most {MAX_KEYS}")),
            _ => Ok(Self(keys)),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }

    /// The key for an agent of one of these names (a VM's name, an address), else the first one
    /// without a name, else the first.
    #[must_use]
    pub fn of_agent(&self, names: &[&str]) -> Option<&Key> {
        let named = |key: &&Key| key.name.as_deref().is_some_and(|name| names.contains(&name));
        let unnamed = || self.iter().find(|key| key.name.is_none());
        self.iter().find(named).or_else(unnamed).or_else(|| self.0.first())
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
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_key_is_64_digits_with_a_role_and_a_name_and_never_shown() {
        let digits = "0f".repeat(32);
        let key = Key::parse(&format!("{digits} measure g1")).unwrap();
        assert_eq!((key.role(), key.bytes()), (Role::Measure, &[0x0f; 32]));
        assert!(!format!("{key:?}").contains("15") && format!("{key:?}").contains("g1"));
        assert_eq!(Key::parse(&digits).unwrap(), Key::new([0x0f; 32], Role::Configure));
        for wrong in ["", "0f", &"0g".repeat(32), &"+f".repeat(32), &"0f".repeat(33)] {
            assert!(Key::parse(wrong).unwrap_err().contains("64 hexadecimal"), "{wrong}");
        }
        for rest in ["root", "read g/1", "read g1 more"] {
            let error = Key::parse(&format!("{digits} {rest}")).unwrap_err();
            assert!(!error.contains(&digits), "{error}");
        }
        assert!(Role::Read < Role::Measure && Role::Measure < Role::Configure);
    }

    #[test]
    fn a_file_has_several_keys_and_each_agent_its_own() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("keys");
        let first = Key::create(&path, Role::Read, None, false).unwrap();
        assert!(Key::create(&path, Role::Read, None, false).is_err(), "it is there");
        let named = Key::create(&path, Role::Measure, Some("g1"), true).unwrap();
        let keys = Keys::read(&path).unwrap();
        assert_eq!(keys.iter().cloned().collect::<Vec<_>>(), [first.clone(), named.clone()]);
        assert_eq!(keys.of_agent(&["g1", "10.0.0.1:5203"]), Some(&named));
        assert_eq!(keys.of_agent(&["g2", "10.0.0.2:5203"]), Some(&first));
        assert_eq!(Keys::from(named.clone()).of_agent(&["g2"]), Some(&named));
        // By hand, without a last newline.
        fs::write(&path, format!("{} read", "0f".repeat(32))).unwrap();
        let added = Key::create(&path, Role::Read, Some("g3"), true).unwrap();
        assert_eq!(Keys::read(&path).unwrap().iter().nth(1), Some(&added));
        for _ in 2..MAX_KEYS {
            Key::create(&path, Role::Read, None, true).unwrap();
        }
        let full = Key::create(&path, Role::Read, None, true).unwrap_err().to_string();
        assert!(full.contains("has 64 keys"), "{full}");
        assert_eq!(Keys::read(&path).unwrap().iter().count(), MAX_KEYS);
        fs::write(&path, "# withdrawn\n\n").unwrap();
        assert!(Keys::read(&path).unwrap_err().to_string().contains("no key in it"));
    }

    #[test]
    fn attack_by_a_key_file_of_others_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        Key::create(&at("good"), Role::Read, None, false).unwrap();
        fs::set_permissions(at("good"), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Keys::read(&at("good")).unwrap_err().to_string().contains("chmod 600"));
        let large =
            File::options().write(true).create_new(true).mode(0o600).open(at("large")).unwrap();
        large.set_len(1 << 40).unwrap();
        assert!(Keys::read(&at("large")).unwrap_err().to_string().contains("too large"));
        symlink("/dev/zero", at("device")).unwrap();
        assert!(Keys::read(&at("device")).is_err());
        // What a link leads to is not added to.
        fs::write(at("other"), "").unwrap();
        symlink(at("other"), at("link")).unwrap();
        assert!(Key::create(&at("link"), Role::Read, None, true).is_err());
        assert_eq!(fs::read(at("other")).unwrap(), b"");
    }

    #[test]
    fn no_text_of_a_key_file_makes_it_panic() {
        let good = format!("{} measure g1\n# more\n{}\n", "0f".repeat(32), "a1".repeat(32));
        hostile::survives(good.as_bytes(), |bytes| {
            let _ = Keys::parse(&String::from_utf8_lossy(bytes));
        });
    }
}
