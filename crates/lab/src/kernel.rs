//! Kernels as packages bring them: an ELF image, compressed, behind code that unpacks it.
//!
//! Xen and QEMU (by its PVH entry) take the ELF image itself. Unpacking it here, once, spares the
//! emulated machine the most of its boot: its own and every guest's kernel would be unpacked there.

use files::failed;
use std::io::{Cursor, Read};
use std::path::Path;

use crate::elf;
use crate::error::LabError;

/// The ELF image inside a bzImage (Linux's Documentation/arch/x86/boot.rst, protocol 2.08).
pub(crate) fn elf_image(path: &Path, bzimage: &[u8]) -> Result<Vec<u8>, LabError> {
    let payload = payload(bzimage).ok_or_else(|| LabError::format(path, "no bzImage"))?;
    let image = unpacked(path, payload)?;
    if elf::is_elf(&image) {
        Ok(image)
    } else {
        Err(LabError::format(path, "the kernel inside is not an ELF image"))
    }
}

/// Unpacks a file that is compressed with xz, zstd or gzip; one that is ELF stays as it is.
pub(crate) fn unpacked(path: &Path, contents: &[u8]) -> Result<Vec<u8>, LabError> {
    let mut out = Vec::new();
    let input = Cursor::new(contents);
    match contents {
        [0x7f, b'E', b'L', b'F', ..] => Ok(contents.len()).map(|_| out.extend_from_slice(contents)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            lzma_rust2::XzReader::new(input, false).read_to_end(&mut out).map(drop)
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ruzstd::decoding::StreamingDecoder::new(input)
            .map_err(std::io::Error::other)
            .and_then(|mut decoder| decoder.read_to_end(&mut out))
            .map(drop),
        [0x1f, 0x8b, ..] => flate2::read::GzDecoder::new(input).read_to_end(&mut out).map(drop),
        _ => {
            return Err(LabError::format(
                path,
                "unsupported compression: expected ELF, xz, zstd or gzip",
            ));
        }
    }
    .map_err(failed("unpack", path))?;
    Ok(out)
}

/// The compressed part: after the set-up sectors, at an offset that the header names.
fn payload(bzimage: &[u8]) -> Option<&[u8]> {
    if bzimage.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let sectors = usize::from(*bzimage.get(0x1f1)?) + 1;
    let number = |at: usize| {
        let bytes = bzimage.get(at..at + 4)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let start = (sectors * 512).checked_add(number(0x248)?)?;
    // The last four bytes say how long the unpacked image is; they are not part of the stream.
    let end = start.checked_add(number(0x24c)?)?.checked_sub(4)?;
    bzimage.get(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn bzimage(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024 + 16];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248] = 16;
        image[0x24c..0x250].copy_from_slice(&(payload.len() as u32 + 4).to_le_bytes());
        image.extend_from_slice(payload);
        image.extend_from_slice(&[9; 4]);
        image
    }

    #[test]
    fn the_image_is_found_behind_the_setup_code() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        gzip.write_all(b"\x7fELF and more").unwrap();
        let packed = bzimage(&gzip.finish().unwrap());
        let path = Path::new("vmlinuz");
        assert_eq!(elf_image(path, &packed).unwrap(), b"\x7fELF and more");
        assert!(elf_image(path, &bzimage(b"\x7fBAD")).is_err());
    }

    #[test]
    fn damaged_kernels_are_refused_without_panic() {
        let mut damaged = bzimage(&[0xfd, b'7', b'z', b'X', b'Z', 0, 1, 2, 3]);
        let path = Path::new("vmlinuz");
        assert!(elf_image(path, &damaged).is_err());
        damaged[0x24b] = 0xff;
        assert!(elf_image(path, &damaged).is_err());
        for end in 0..damaged.len() {
            assert!(elf_image(path, &damaged[..end]).is_err());
        }
        assert!(unpacked(path, &[0x28, 0xb5, 0x2f, 0xfd, 1]).is_err());
        assert!(unpacked(path, &[0x1f, 0x8b, 1]).is_err());
    }
}
