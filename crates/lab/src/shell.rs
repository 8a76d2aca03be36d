//! An interactive shell in the machine, on the caller's terminal.
