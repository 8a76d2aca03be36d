//! Files in places that other users can change.
//!
//! vmeter runs as root where others have accounts: they choose what their processes' files hold,
//! and may own the folders that it reads from and writes to. Reading has a limit, opens regular
//! files only and never waits for one. Writing goes to a new file of a random name, which then
//! takes the place of what was there; symbolic links on the way must be root's or the caller's.

mod error;
mod output;
mod read;
mod walk;

pub use error::{FileError, failed};
pub use output::{Draft, Output, check, create_new, make_folders, open_lock, parts_of, write};
pub use read::{
    is_too_large, open, open_within, open_without_link, place_within, read, read_into, read_text,
    read_without_link, type_of,
};
