//! Where requests go.

use crate::address::lookup_until;
use crate::{Control, Error};
use http::uri::PathAndQuery;
use std::fmt::Write as _;
use std::net::{Ipv6Addr, SocketAddr};

/// An `http://` URL in its parts (RFC 3986, RFC 6874).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name or IP address to connect to, without brackets; a link-local one with its zone.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// The Host header: neither credentials nor a zone, nor the port where it is HTTP's own.
    pub authority: String,
    /// Path and query; the path is at least `/`.
    pub path: String,
    /// The Authorization header that the URL's credentials make (RFC 7617).
    pub authorization: Option<String>,
}

/// HTTP's port.
const PORT: u16 = 80;

impl Target {
    /// Parses a URL. Its fragment is left out.
    ///
    /// # Errors
    /// [`Error::Plan`] says what is wrong with it, its password left out.
    pub fn of(url: &str) -> Result<Self, Error> {
        parse(url).map_err(|why| Error::Plan(format!("invalid URL `{}`: {why}", redacted(url))))
    }

    /// The URL, as other tools take it: without credentials, with a path and a port.
    #[must_use]
    pub fn url(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("http://{host}:{}{}", self.port, self.path)
    }

    /// Its addresses, in the resolver's order.
    ///
    /// # Errors
    /// [`Error::Plan`] where the host is not found.
    pub fn addresses(&self, control: &Control) -> Result<Vec<SocketAddr>, Error> {
        lookup_until(&self.host, self.port, control)
            .map_err(|error| Error::Plan(format!("cannot resolve `{}`: {error}", self.host)))
    }
}

/// The URL with its password, if it has one, as `***`: what is stored or shown of it.
pub fn redacted(url: &str) -> String {
    let from = url.find("://").map_or(0, |at| at + 3);
    let end = url[from..].find(['/', '?', '#']).map_or(url.len(), |at| from + at);
    let Some(at) = url[from..end].rfind('@') else { return url.to_owned() };
    let user = url[from..from + at].split(':').next().unwrap_or_default();
    format!("{}{user}:***{}", &url[..from], &url[from + at..])
}

fn parse(url: &str) -> Result<Target, String> {
    let (scheme, rest) = url.split_once("://").ok_or("expected http://HOST[:PORT]/PATH")?;
    match scheme.to_ascii_lowercase().as_str() {
        "http" => {}
        "https" => return Err("https is not supported: expected http".to_owned()),
        _ => return Err("expected http://HOST[:PORT]/PATH".to_owned()),
    }
    let rest = rest.split('#').next().unwrap_or_default();
    let (whole, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let slash = if path.starts_with('/') { "" } else { "/" };
    let path = format!("{slash}{path}");
    PathAndQuery::try_from(path.as_str()).map_err(|_| "invalid character in the path")?;
    let (credentials, place) =
        whole.rsplit_once('@').map_or((None, whole), |(user, place)| (Some(user), place));
    let (host, name, port) = host_and_port(place)?;
    let authority = if port == PORT { name } else { format!("{name}:{port}") };
    let authorization = credentials.map(basic).transpose()?;
    Ok(Target { host, port, authority, path, authorization })
}

/// What to connect to, how the Host header names it, and the port.
fn host_and_port(place: &str) -> Result<(String, String, u16), String> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("expected `]` after the IPv6 address")?,
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let port = match port.strip_prefix(':') {
        _ if matches!(port, "" | ":") => PORT,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| format!("invalid port `{digits}`"))?,
        _ => return Err(format!("invalid port `{}`", port.trim_start_matches(':'))),
    };
    if place.starts_with('[') {
        let (host, name) = ipv6(host)?;
        return Ok((host, name, port));
    }
    if host.is_empty() {
        return Err("expected a host".to_owned());
    }
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !host.bytes().all(letter) {
        return Err(format!("invalid host `{host}`"));
    }
    Ok((host.to_owned(), host.to_owned(), port))
}

/// An IPv6 address with its zone, and without it in brackets. The zone stands after `%25`, as RFC
/// 6874 has it, or after `%`, as curl takes it too.
fn ipv6(text: &str) -> Result<(String, String), String> {
    let (ip, zone) = text.split_once('%').map_or((text, None), |(ip, zone)| (ip, Some(zone)));
    let ip: Ipv6Addr = ip.parse().map_err(|_| format!("invalid IPv6 address `{ip}`"))?;
    let name = format!("[{ip}]");
    let Some(zone) = zone else { return Ok((ip.to_string(), name)) };
    let zone = zone.strip_prefix("25").filter(|zone| !zone.is_empty()).unwrap_or(zone);
    let zone = decoded(zone).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let zone = zone.filter(|zone| !zone.is_empty()).ok_or("invalid IPv6 zone")?;
    Ok((format!("{ip}%{zone}"), name))
}

/// The header that a URL's `USER:PASSWORD` makes.
fn basic(credentials: &str) -> Result<String, String> {
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let (user, password) = (decoded(user)?, decoded(password)?);
    if user.contains(&b':') {
        return Err("invalid user name: a colon cannot be sent (RFC 7617)".to_owned());
    }
    Ok(format!("Basic {}", base64(&[&user[..], b":", &password].concat())))
}

/// Percent-decoded.
fn decoded(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            plain.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| (byte as char).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => plain.push((high * 16 + low) as u8),
            _ => return Err("expected two hexadecimal digits after `%`".to_owned()),
        }
    }
    Ok(plain)
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let at = |place: usize| u32::from(group.get(place).copied().unwrap_or_default());
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize] as char;
            // Writing to a String cannot fail.
            let _ = text.write_char(if place <= group.len() { digit } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> (String, u16, String, String) {
        let target = Target::of(url).unwrap();
        (target.host, target.port, target.authority, target.path)
    }

    #[test]
    fn urls_are_taken_apart() {
        for (url, host, port, authority, path) in [
            ("http://127.0.0.1:8080/a/b?c=d", "127.0.0.1", 8080, "127.0.0.1:8080", "/a/b?c=d"),
            ("http://127.0.0.1", "127.0.0.1", 80, "127.0.0.1", "/"),
            ("http://[::1]:81/", "::1", 81, "[::1]:81", "/"),
            ("HTTP://h:80?x=1", "h", 80, "h", "/?x=1"),
            ("http://h?x=/y", "h", 80, "h", "/?x=/y"),
            ("http://h:/", "h", 80, "h", "/"),
            ("http://h#part", "h", 80, "h", "/"),
            ("http://h/a?b#part", "h", 80, "h", "/a?b"),
            ("http://[fe80::1%25v0]:81/a", "fe80::1%v0", 81, "[fe80::1]:81", "/a"),
            ("http://[fe80::1%v0]/", "fe80::1%v0", 80, "[fe80::1]", "/"),
            ("http://[fe80::1%2525]/", "fe80::1%25", 80, "[fe80::1]", "/"),
            ("http://me:secret@h:81/", "h", 81, "h:81", "/"),
            ("http://h/@x:y", "h", 80, "h", "/@x:y"),
        ] {
            let wanted = (host.to_owned(), port, authority.to_owned(), path.to_owned());
            assert_eq!(parts(url), wanted, "{url}");
        }
        for wrong in [
            "",
            "127.0.0.1",
            "https://127.0.0.1/",
            "ftp://x/",
            "http://",
            "http://a b/",
            "http://h:99999/",
            "http://h:0/",
            "http://h:8o/",
            "http://h:+80/",
            "http://::1/",
            "http://[::1/",
            "http://[::1]80/",
            "http://[h]/",
            "http://[fe80::1%]/",
            "http://h%41/",
            "http://h/a b",
            "http://a%zz:b@h/",
            "http://a%3ab:c@h/",
        ] {
            assert!(Target::of(wrong).is_err(), "{wrong}");
        }
    }

    /// The values are RFC 7617's own example, and what `curl -v` sends for the same URLs.
    #[test]
    fn credentials_are_sent_as_basic_authorization_and_shown_nowhere() {
        for (url, sent) in [
            ("http://Aladdin:open%20sesame@h/", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("http://user:pass@h/", "Basic dXNlcjpwYXNz"),
            ("http://user@h/", "Basic dXNlcjo="),
            ("http://user:p%40ss:w@h/", "Basic dXNlcjpwQHNzOnc="),
        ] {
            assert_eq!(Target::of(url).unwrap().authorization.as_deref(), Some(sent), "{url}");
        }
        assert_eq!(Target::of("http://h/").unwrap().authorization, None);
        for (url, shown) in [
            ("http://me:secret@h:81/a@b", "http://me:***@h:81/a@b"),
            ("http://me:s@cret@h?x", "http://me:***@h?x"),
            ("http://h/a:b@c", "http://h/a:b@c"),
            ("me:secret@h", "me:***@h"),
        ] {
            assert_eq!(redacted(url), shown);
        }
        let error = Target::of("http://me:secret@h:0/").unwrap_err().to_string();
        assert!(error.contains("me:***@h:0") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn a_host_that_is_not_found_is_a_wrong_plan() {
        let target = Target::of("http://[fe80::1%25no-such-device]/").unwrap();
        let error = target.addresses(&Control::default()).unwrap_err();
        assert!(matches!(&error, Error::Plan(text) if text.contains("no-such-device")), "{error}");
        let target = Target::of("http://[fe80::1%25lo]:81/").unwrap();
        let found = target.addresses(&Control::default()).unwrap();
        assert_eq!(found, ["[fe80::1%1]:81".parse().unwrap()]);
    }
}
