//! Decompression of request bodies, bounded in the size of the result.

use std::io::Read;

/// Why a body could not be decompressed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecompressError {
    #[error("the decompressed body would exceed {0} bytes")]
    TooLarge(usize),
    #[error("not a valid snappy block: {0}")]
    Snappy(snap::Error),
    #[error("not valid gzip: {0}")]
    Gzip(std::io::Error),
}

/// Decompresses a snappy block (not the framed format).
pub(crate) fn snappy_block(body: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let length = snap::raw::decompress_len(body).map_err(DecompressError::Snappy)?;
    if length > limit {
        return Err(DecompressError::TooLarge(limit));
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(DecompressError::Snappy)
}

/// Decompresses gzip.
pub(crate) fn gzip(body: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let mut plain = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(body).take(limit as u64 + 1);
    reader.read_to_end(&mut plain).map_err(DecompressError::Gzip)?;
    if plain.len() > limit {
        return Err(DecompressError::TooLarge(limit));
    }
    Ok(plain)
}
