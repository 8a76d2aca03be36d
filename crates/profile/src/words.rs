//! The words of tables' cells: each row's are found by what they are of, and made once.

use crate::column::Column;
use crate::image::ImageId;
use crate::named::{Named, Row};
use crate::names::NameId;
use crate::place::VmIndex;
use ahash::AHashMap;
use std::sync::Arc;

/// A word by its number; words that look alike are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct WordId(u32);

/// What a word is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Of {
    Vm(VmIndex),
    Fixed(&'static str),
    Process(NameId, Option<u32>),
    /// An image, or the module that a function of it is in.
    Image(ImageId, Option<usize>),
    /// A function, by where it is kept.
    Function(usize),
    Address(ImageId, Option<u64>),
}

/// Words of one table.
pub(crate) struct Words<'a> {
    named: &'a Named<'a>,
    full_paths: bool,
    of: AHashMap<Of, WordId>,
    ids: AHashMap<Arc<str>, WordId>,
    words: Vec<Arc<str>>,
}

impl<'a> Words<'a> {
    /// None but the empty one, which [`WordId::default`] is.
    pub(crate) fn new(named: &'a Named<'a>, full_paths: bool) -> Self {
        let (of, ids) = (AHashMap::new(), AHashMap::new());
        Self { named, full_paths, of, ids, words: vec!["".into()] }
    }

    /// The word of a row's column.
    pub(crate) fn id(&mut self, column: Column, row: &Row) -> WordId {
        let function = row.naming.as_ref().ok();
        let kept = function.map(|function| Arc::as_ptr(function) as usize);
        let of = match column {
            Column::Vm => Of::Vm(row.vm),
            Column::Layer => Of::Fixed(row.layer.word()),
            Column::Part => Of::Fixed(row.part.word()),
            Column::Process => Of::Process(row.process, row.pid),
            Column::Image => {
                Of::Image(row.image, kept.filter(|_| function.is_some_and(|f| f.module.is_some())))
            }
            Column::Symbol => kept.map_or(Of::Address(row.image, row.address), Of::Function),
        };
        if let Some(&id) = self.of.get(&of) {
            return id;
        }
        let word = match column {
            Column::Vm => self.named.profile.shown_vm(row.vm),
            Column::Layer => row.layer.word().to_owned(),
            Column::Part => row.part.word().to_owned(),
            Column::Process => self.named.shown_process(row),
            Column::Image => self.named.shown_image(row, self.full_paths),
            Column::Symbol => self.named.shown_symbol(row),
        };
        let id = self.word(word);
        self.of.insert(of, id);
        id
    }

    fn word(&mut self, word: String) -> WordId {
        if let Some(&id) = self.ids.get(word.as_str()) {
            return id;
        }
        let id = WordId(u32::try_from(self.words.len()).unwrap_or(0));
        let word: Arc<str> = word.into();
        self.words.push(Arc::clone(&word));
        self.ids.insert(word, id);
        id
    }

    /// A word that was found.
    pub(crate) fn get(&self, id: WordId) -> &str {
        self.words.get(id.0 as usize).map_or("", AsRef::as_ref)
    }

    /// The same, to keep.
    pub(crate) fn shared(&self, id: WordId) -> Arc<str> {
        self.words.get(id.0 as usize).map_or_else(|| "".into(), Arc::clone)
    }
}
