//! The xen reader.
