//! Symbols of an ELF file whose bytes a guest sent. The `object` crate checks every offset; how
//! much is read is bounded here.

use super::{Function, LONGEST, Reason, function, same_build};
use model::BuildId;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, Sym, SymbolTable};
use object::{Endianness, FileKind};

/// Bytes of a file that is read.
const BYTES: usize = 1 << 30;
/// Symbols that are read.
const SYMBOLS: usize = 1 << 22;
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

/// The functions at offsets in a file, in their order.
///
/// # Errors
/// Why the file gives none at all.
pub(super) fn names(
    bytes: &[u8],
    build_id: Option<&BuildId>,
    offsets: &[u64],
) -> Result<Vec<Result<Function, Reason>>, Reason> {
    if bytes.len() > BYTES {
        return Err(Reason::TooLarge(format!("{} bytes", bytes.len())));
    }
    match FileKind::parse(bytes) {
        Ok(FileKind::Elf64) => read::<elf::FileHeader64<Endianness>>(bytes, build_id, offsets),
        Ok(FileKind::Elf32) => read::<elf::FileHeader32<Endianness>>(bytes, build_id, offsets),
        _ => Err(Reason::Malformed("not an ELF file".to_owned())),
    }
}

fn read<Elf: FileHeader<Endian = Endianness>>(
    bytes: &[u8],
    build_id: Option<&BuildId>,
    offsets: &[u64],
) -> Result<Vec<Result<Function, Reason>>, Reason> {
    let malformed = |error: object::Error| Reason::Malformed(error.to_string());
    let header = Elf::parse(bytes).map_err(malformed)?;
    let endian = header.endian().map_err(malformed)?;
    let segments = header.program_headers(endian, bytes).map_err(malformed)?;
    let segments = segments.get(..LOADS).unwrap_or(segments);
    same_build(build_id, own_build_id::<Elf>(segments, endian, bytes))?;
    let sections = header.sections(endian, bytes).map_err(malformed)?;
    let full = sections.symbols(endian, bytes, elf::SHT_SYMTAB).map_err(malformed)?;
    let exported = sections.symbols(endian, bytes, elf::SHT_DYNSYM).map_err(malformed)?;
    let stripped = full.is_empty();
    let table = if stripped { exported } else { full };
    if table.len() > SYMBOLS {
        return Err(Reason::TooLarge(format!("{} symbols", table.len())));
    }
    let places = places::<Elf>(&table, endian);
    let missing = if stripped { Reason::Stripped } else { Reason::NoSymbol };
    let one = |&offset: &u64| {
        let address = address::<Elf>(segments, endian, offset);
        let place = address.and_then(|address| at(&places, address));
        let name = place.and_then(|place| name::<Elf>(&table, endian, place.index));
        name.ok_or_else(|| missing.clone())
    };
    Ok(offsets.iter().map(one).collect())
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

fn own_build_id<'a, Elf: FileHeader>(
    segments: &[Elf::ProgramHeader],
    endian: Elf::Endian,
    bytes: &'a [u8],
) -> Option<&'a [u8]> {
    for segment in segments {
        let Ok(Some(mut notes)) = segment.notes(endian, bytes) else { continue };
        while let Ok(Some(note)) = notes.next() {
            if note.name() == elf::ELF_NOTE_GNU && note.n_type(endian) == elf::NT_GNU_BUILD_ID {
                return Some(note.desc());
            }
        }
    }
    None
}

/// The functions of a table in the order of their addresses.
fn places<Elf: FileHeader>(table: &SymbolTable<'_, Elf>, endian: Elf::Endian) -> Vec<Place> {
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

fn name<Elf: FileHeader>(
    table: &SymbolTable<'_, Elf>,
    endian: Elf::Endian,
    index: usize,
) -> Option<Function> {
    let symbol = table.symbols().get(index)?;
    let start = usize::try_from(symbol.st_name(endian)).ok()?;
    let name = table.strings().get(u32::try_from(start).ok()?).ok()?;
    let name = name.get(..LONGEST).unwrap_or(name);
    (!name.is_empty()).then(|| function(name, None))
}
