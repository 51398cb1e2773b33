//! Why a file could not be mapped.

use std::fmt;
use std::io;

/// Why a file could not be mapped.
#[derive(Debug)]
pub enum MapError {
    /// No bytes, or more than an address space holds.
    BadSize(u64),
    /// This process has as many mappings as it can guard against vanishing files.
    TooMany,
    /// The system refused: no address space (a limit on it?), or not a file that can be mapped.
    Refused {
        /// The bytes asked for.
        reserve: u64,
        /// The system's reason.
        source: io::Error,
    },
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MapError::BadSize(bytes) => write!(f, "cannot reserve {bytes} bytes of addresses"),
            MapError::TooMany => write!(f, "too many mappings in this process"),
            MapError::Refused { reserve, source } => {
                write!(f, "cannot map {reserve} bytes: {source}")
            }
        }
    }
}

impl std::error::Error for MapError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            MapError::Refused { source, .. } => Some(source),
            _ => None,
        }
    }
}
