//! Where the events happened: clock alignment, merging hosts and guests, symbols, tables and formats.
