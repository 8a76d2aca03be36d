//! The Linux that vmeter runs in: the host, or the driver domain on Xen.
