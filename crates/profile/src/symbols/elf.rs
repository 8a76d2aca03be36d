//! Symbols of an ELF file: of bytes that a guest sent, or of a file of the host's, which may be any
//! user's. The `object` crate checks every offset; how much is read is bounded here.

use super::{Function, LONGEST, Reason, function, same_build};
use model::BuildId;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym, SymbolTable};
use object::{Endianness, FileKind, ReadRef};

/// Bytes of a file that is read.
const BYTES: u64 = 1 << 30;
/// Symbols that are read.
const SYMBOLS: usize = 1 << 21;
/// Parts of a file that are loaded; real ones have a dozen.
const LOADS: usize = 4096;

/// A function's place in a table.
struct Place {
    start: u64,
    size: u64,
    /// Global before weak before local, where several have one address.
    rank: u8,
    index: usize,
}

/// Where functions are looked for.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// Offsets in the file.
    Offsets(&'a [u64]),
    /// Addresses at which its code is loaded, less where the file is; `None` for what is not loaded.
    Addresses(&'a [Option<u64>]),
}

/// What a file says.
pub(super) struct Found {
    /// The functions, in the order of what was wanted.
    pub(super) names: Vec<Result<Function, Reason>>,
    /// The addresses of what was wanted.
    pub(super) addresses: Vec<Option<u64>>,
    /// Whether it has no symbols but those that it exports.
    pub(super) is_stripped: bool,
    pub(super) build_id: Option<Vec<u8>>,
    /// The name of the file with its debug symbols, raw.
    pub(super) debug_link: Option<Vec<u8>>,
}

/// The functions at offsets in a guest's file, in their order.
///
/// # Errors
/// Why the file gives none at all.
pub(super) fn names(
    bytes: &[u8],
    build_id: Option<&BuildId>,
    offsets: &[u64],
) -> Result<Vec<Result<Function, Reason>>, Reason> {
    Ok(look_up(bytes, build_id, Wanted::Offsets(offsets))?.names)
}

/// The functions of a file.
///
/// # Errors
/// Why the file gives none at all.
pub(super) fn look_up<'d, R: ReadRef<'d>>(
    file: R,
    build_id: Option<&BuildId>,
    wanted: Wanted<'_>,
) -> Result<Found, Reason> {
    let kind = FileKind::parse(file);
    match (kind, file.len()) {
        (Ok(FileKind::Elf64), Ok(bytes)) if bytes <= BYTES => {
            read::<elf::FileHeader64<Endianness>, R>(file, build_id, wanted)
        }
        (Ok(FileKind::Elf32), Ok(bytes)) if bytes <= BYTES => {
            read::<elf::FileHeader32<Endianness>, R>(file, build_id, wanted)
        }
        (Ok(FileKind::Elf64 | FileKind::Elf32), Ok(bytes)) => {
            Err(Reason::TooLarge(format!("{bytes} bytes")))
        }
        _ => Err(Reason::Malformed("not an ELF file".to_owned())),
    }
}

fn read<'d, Elf: FileHeader<Endian = Endianness>, R: ReadRef<'d>>(
    file: R,
    build_id: Option<&BuildId>,
    wanted: Wanted<'_>,
) -> Result<Found, Reason> {
    let header = Elf::parse(file).map_err(malformed)?;
    let endian = header.endian().map_err(malformed)?;
    let segments = header.program_headers(endian, file).map_err(malformed)?;
    let segments = segments.get(..LOADS).unwrap_or(segments);
    let own = own_build_id::<Elf, R>(segments, endian, file);
    same_build(build_id, own)?;
    let sections = header.sections(endian, file).map_err(malformed)?;
    bounded(&sections, endian)?;
    let full = sections.symbols(endian, file, elf::SHT_SYMTAB).map_err(malformed)?;
    let is_stripped = full.is_empty();
    let table = if is_stripped {
        sections.symbols(endian, file, elf::SHT_DYNSYM).map_err(malformed)?
    } else {
        full
    };
    let places = places(&table, endian);
    let missing = if is_stripped { Reason::Stripped } else { Reason::NoSymbol };
    let one = |address: &Option<u64>| {
        let place = address.and_then(|address| at(&places, address));
        let name = place.and_then(|place| name(&table, endian, place.index));
        name.ok_or_else(|| missing.clone())
    };
    let addresses: Vec<Option<u64>> = match wanted {
        Wanted::Offsets(offsets) => {
            offsets.iter().map(|&offset| address::<Elf>(segments, endian, offset)).collect()
        }
        Wanted::Addresses(addresses) => addresses.to_vec(),
    };
    Ok(Found {
        names: addresses.iter().map(one).collect(),
        addresses,
        is_stripped,
        build_id: own.map(<[u8]>::to_vec),
        debug_link: debug_link(&sections, endian, file),
    })
}

fn malformed(error: object::Error) -> Reason {
    Reason::Malformed(error.to_string())
}

/// Refuses tables of more symbols than are read, before any of them is.
fn bounded<'d, Elf: FileHeader<Endian = Endianness>, R: ReadRef<'d>>(
    sections: &SectionTable<'d, Elf, R>,
    endian: Endianness,
) -> Result<(), Reason> {
    for section in sections.iter() {
        let kind = section.sh_type(endian);
        if kind == elf::SHT_SYMTAB || kind == elf::SHT_DYNSYM {
            let bytes: u64 = section.sh_size(endian).into();
            let symbols = bytes / size_of::<Elf::Sym>() as u64;
            if symbols > SYMBOLS as u64 {
                return Err(Reason::TooLarge(format!("{symbols} symbols")));
            }
        }
    }
    Ok(())
}

/// The name in `.gnu_debuglink`, which ends with a zero.
fn debug_link<'d, Elf: FileHeader<Endian = Endianness>, R: ReadRef<'d>>(
    sections: &SectionTable<'d, Elf, R>,
    endian: Endianness,
    file: R,
) -> Option<Vec<u8>> {
    let (_, section) = sections.section_by_name(endian, b".gnu_debuglink")?;
    let data = section.data(endian, file).ok()?;
    data.split(|&byte| byte == 0).next().map(<[u8]>::to_vec)
}

/// The address at which an offset of the file is loaded, less where the file is.
fn address<Elf: FileHeader>(
    segments: &[Elf::ProgramHeader],
    endian: Elf::Endian,
    offset: u64,
) -> Option<u64> {
    let one = |segment: &Elf::ProgramHeader| {
        let begin: u64 = segment.p_offset(endian).into();
        let size: u64 = segment.p_filesz(endian).into();
        let load = segment.p_type(endian) == elf::PT_LOAD;
        let inside = offset.checked_sub(begin).filter(|&inside| load && inside < size)?;
        let address: u64 = segment.p_vaddr(endian).into();
        Some(address.wrapping_add(inside))
    };
    segments.iter().find_map(one)
}

fn own_build_id<'d, Elf: FileHeader, R: ReadRef<'d>>(
    segments: &[Elf::ProgramHeader],
    endian: Elf::Endian,
    file: R,
) -> Option<&'d [u8]> {
    for segment in segments {
        let Ok(Some(mut notes)) = segment.notes(endian, file) else { continue };
        while let Ok(Some(note)) = notes.next() {
            if note.name() == elf::ELF_NOTE_GNU && note.n_type(endian) == elf::NT_GNU_BUILD_ID {
                return Some(note.desc());
            }
        }
    }
    None
}

/// The functions of a table in the order of their addresses.
fn places<'d, Elf: FileHeader, R: ReadRef<'d>>(
    table: &SymbolTable<'d, Elf, R>,
    endian: Elf::Endian,
) -> Vec<Place> {
    let mut places = Vec::new();
    for (index, symbol) in table.symbols().iter().enumerate() {
        let kind = symbol.st_type();
        if (kind == elf::STT_FUNC || kind == elf::STT_GNU_IFUNC) && !symbol.is_undefined(endian) {
            let (start, size) = (symbol.st_value(endian).into(), symbol.st_size(endian).into());
            let rank = match symbol.st_bind() {
                bind if bind == elf::STB_GLOBAL => 0,
                bind if bind == elf::STB_WEAK => 1,
                _ => 2,
            };
            places.push(Place { start, size, rank, index });
        }
    }
    places.sort_unstable_by_key(|place| (place.start, place.rank, place.index));
    places.dedup_by_key(|place| place.start);
    places
}

/// The function at an address; one that does not say its size goes on to the next.
fn at(places: &[Place], address: u64) -> Option<&Place> {
    let after = places.partition_point(|place| place.start <= address);
    let place = places.get(after.checked_sub(1)?)?;
    (place.size == 0 || address - place.start < place.size).then_some(place)
}

fn name<'d, Elf: FileHeader, R: ReadRef<'d>>(
    table: &SymbolTable<'d, Elf, R>,
    endian: Elf::Endian,
    index: usize,
) -> Option<Function> {
    let symbol = table.symbols().get(index)?;
    let start = usize::try_from(symbol.st_name(endian)).ok()?;
    let name = table.strings().get(u32::try_from(start).ok()?).ok()?;
    let name = name.get(..LONGEST).unwrap_or(name);
    (!name.is_empty()).then(|| function(name, None))
}
