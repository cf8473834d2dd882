//! Packed numbers: pages of the `pco` crate, behind checks.

use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DeltaSpec, ModeSpec};

use super::ChunkError;

/// The version of pco's format that the tags of columns stand for; pages do not repeat it.
const FORMAT: [u8; 2] = [4, 1];

/// Above, smaller by a thousandth and slower by half.
const LEVEL: usize = 6;

/// Appends a page of numbers that need only be packed.
pub(super) fn pack<T: Number>(numbers: &[T], into: &mut Vec<u8>) {
    pack_as(numbers, ModeSpec::Classic, DeltaSpec::NoOp, into);
}

/// Appends a page of floats; `deltas` when neighbours are closer than others.
pub(super) fn pack_floats(values: &[f64], deltas: bool, into: &mut Vec<u8>) {
    let deltas = if deltas { DeltaSpec::TryConsecutive(1) } else { DeltaSpec::NoOp };
    pack_as(values, ModeSpec::Auto, deltas, into);
}

fn pack_as<T: Number>(numbers: &[T], mode: ModeSpec, delta: DeltaSpec, into: &mut Vec<u8>) {
    let config = ChunkConfig::default()
        .with_compression_level(LEVEL)
        .with_mode_spec(mode)
        .with_delta_spec(delta);
    FileCompressor::default()
        .chunk_compressor(numbers, &config)
        .and_then(|mut chunk| {
            chunk.write_meta(&mut *into)?;
            chunk.write_page(0, &mut *into)
        })
        .expect("there are numbers, the settings are valid, and a vector takes all bytes");
}

/// Decodes a page of `count` numbers; no page has none.
pub(super) fn unpack<T: Number + Default>(
    bytes: &[u8],
    count: usize,
    what: &'static str,
) -> Result<Vec<T>, ChunkError> {
    if count == 0 || !has_known_head(bytes) {
        return Err(ChunkError::damaged(what));
    }
    let mut numbers = vec![T::default(); count];
    let mut unpack = || {
        let (file, _) = FileDecompressor::new(&FORMAT[..])?;
        let (mut chunk, bytes) = file.chunk_decompressor(bytes)?;
        let mut page = chunk.page_decompressor(bytes, count)?;
        page.read(&mut numbers)?;
        Ok(page.into_src().is_empty())
    };
    match unpack() {
        Ok(true) => Ok(numbers),
        Ok(false) => Err(ChunkError::damaged(what)),
        Err(source) => Err(ChunkError::Damaged { what, source: Some(source) }),
    }
}

/// Whether the modes are such as [`pack_as`] may choose.
///
/// The others take memory by numbers they declare: dictionaries (mode 4) and lookback windows
/// (delta encoding 2), up to 256 MiB.
fn has_known_head(bytes: &[u8]) -> bool {
    // Four bits of mode, its parameter, four bits of delta encoding.
    let parameter_bytes = match bytes.first().map(|byte| byte & 0xf) {
        Some(0) => 0,
        Some(1 | 2) => 8,
        Some(3) => 1,
        _ => return false,
    };
    bytes.get(parameter_bytes).is_some_and(|byte| byte >> 4 <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pco_writes_the_version_that_the_tags_stand_for() {
        assert_eq!(FileCompressor::default().write_header(Vec::new()), Ok(FORMAT.to_vec()));
    }

    #[test]
    fn modes_that_take_memory_by_what_they_declare_are_refused() {
        let dictionary = [4, 0xff, 0xff, 0xff, 0xff];
        let lookback = [0x20, 0xff, 0xff, 0xff, 0xff];
        for page in [dictionary, lookback] {
            assert_eq!(unpack::<u64>(&page, 8, "numbers"), Err(ChunkError::damaged("numbers")));
        }
    }
}
