//! The cgroup reader.
