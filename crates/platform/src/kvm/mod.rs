//! The kvm reader.
