//! Recordings: append, read, compact, import, export.
