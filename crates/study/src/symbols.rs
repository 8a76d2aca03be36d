//! Files of symbols that are taken from machines, which keep theirs from run to run.

use agent::{Handle, Stream, SymbolFile};
use model::BuildId;
use profile::symbols::{Binary, Images, Reason};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

/// The largest file of symbols that is taken from a machine.
const MAX_FILE: u64 = 64 << 20;

/// Files of symbols by whose they are: machines keep theirs from run to run.
#[derive(Debug, Default)]
pub(crate) struct Files(BTreeMap<(String, Vec<u8>), Given>);

/// A file, or why there is none.
type Given = Result<Arc<[u8]>, Reason>;

/// Symbols as the machine's agent gives them.
pub(crate) struct Asked<'a> {
    pub who: &'a str,
    pub handle: &'a mut Handle<Stream>,
    pub files: &'a mut Files,
}

impl Asked<'_> {
    fn get(&mut self, key: &[u8], file: &SymbolFile) -> Given {
        let handle = &mut *self.handle;
        let ask = || match handle.symbols(file, MAX_FILE) {
            Ok(bytes) => Ok(Arc::from(bytes)),
            Err(error) => Err(Reason::NotSent(error.to_string())),
        };
        self.files.0.entry((self.who.to_owned(), key.to_vec())).or_insert_with(ask).clone()
    }
}

impl Images for Asked<'_> {
    fn open(&mut self, _: usize, path: &[u8], _: Option<&BuildId>) -> Result<Binary, Reason> {
        let file = SymbolFile::Binary(PathBuf::from(OsStr::from_bytes(path)));
        self.get(path, &file).map(Binary::Guest)
    }

    fn kallsyms(&mut self, _: usize) -> Result<Arc<[u8]>, Reason> {
        self.get(b"", &SymbolFile::Kallsyms)
    }
}

/// No symbols: only images are told apart.
pub(crate) struct Nothing;

impl Images for Nothing {
    fn open(&mut self, _: usize, _: &[u8], _: Option<&BuildId>) -> Result<Binary, Reason> {
        Err(Reason::NotSent("not requested".to_owned()))
    }

    fn kallsyms(&mut self, _: usize) -> Result<Arc<[u8]>, Reason> {
        Err(Reason::NoKallsyms("not requested".to_owned()))
    }
}
