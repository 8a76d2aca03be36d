//! Where requests go.

use crate::Error;
use http::Uri;
use std::net::{SocketAddr, ToSocketAddrs};

/// A parsed `http://` URL with its address.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where to connect.
    pub address: SocketAddr,
    /// The Host header.
    pub host: String,
    /// Path and query, at least `/`.
    pub path: String,
}

impl Target {
    /// Parses and resolves.
    ///
    /// # Errors
    /// Says what is wrong with the URL, or that its host is not found.
    pub fn of(url: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Plan(format!("{url}: {why}"));
        let uri: Uri = url.parse().map_err(|error| wrong(&format!("no URL: {error}")))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(wrong("https is not supported: measure http")),
            _ => return Err(wrong("write http://HOST[:PORT]/PATH")),
        }
        let host = uri.host().ok_or_else(|| wrong("no host"))?;
        let port = uri.port_u16().unwrap_or(80);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let mut found =
            (bare, port).to_socket_addrs().map_err(Error::io(format!("{bare} is not found")))?;
        Ok(Self {
            address: found.next().ok_or_else(|| wrong("its host has no address"))?,
            host: uri.authority().map_or_else(|| host.to_owned(), ToString::to_string),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let target = Target::of("http://127.0.0.1:8080/a/b?c=d").unwrap();
        assert_eq!(target.address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!((target.host.as_str(), target.path.as_str()), ("127.0.0.1:8080", "/a/b?c=d"));
        assert_eq!(Target::of("http://127.0.0.1").unwrap().path, "/");
        assert_eq!(Target::of("http://[::1]:81/").unwrap().address, "[::1]:81".parse().unwrap());
        for wrong in ["", "127.0.0.1", "https://127.0.0.1/", "ftp://x/", "http://", "http://a b/"] {
            assert!(Target::of(wrong).is_err(), "{wrong}");
        }
    }
}
