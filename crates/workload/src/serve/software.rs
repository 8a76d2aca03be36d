//! Which server serves, and how those that are not vmeter's own are told to.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

/// A web server's software.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Software {
    /// vmeter's own.
    #[default]
    Vmeter,
    /// nginx.
    Nginx,
    /// Apache's httpd with its event MPM.
    Apache,
}

impl Software {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Vmeter, Self::Nginx, Self::Apache];

    /// Its name in plans and results.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.foreign().map_or("vmeter", |foreign| foreign.name)
    }

    /// How it is started where it is another program than vmeter.
    #[must_use]
    pub fn foreign(self) -> Option<&'static Foreign> {
        match self {
            Self::Vmeter => None,
            Self::Nginx => Some(&NGINX),
            Self::Apache => Some(&APACHE),
        }
    }
}

impl fmt::Display for Software {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A server that is another program.
#[derive(Debug)]
pub struct Foreign {
    /// Its name in plans and results.
    pub name: &'static str,
    /// What the program is called; distributions differ.
    pub(super) programs: &'static [&'static str],
    /// The packages that have it.
    pub(super) packages: &'static str,
    /// What its configuration says.
    pub(super) configuration: fn(&Setup<'_>) -> String,
    /// Its arguments before the configuration's path.
    pub(super) arguments: &'static [&'static str],
}

/// What a server is to do. No path of it needs quoting ([`super::process`] sees to that).
pub(super) struct Setup<'a> {
    /// Where the server keeps its own files.
    pub own: &'a Path,
    /// Where it says what goes wrong.
    pub log: &'a Path,
    /// What it serves.
    pub root: &'a Path,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its worker processes.
    pub workers: usize,
    /// Whether it is started as root.
    pub as_root: bool,
}

/// Connections at a time, for each worker, of which each may have a file open.
const CONNECTIONS: usize = 4096;
/// Threads of a worker of Apache. Connections that wait for a request or for their client take
/// none.
const THREADS: usize = 64;

static NGINX: Foreign = Foreign {
    name: "nginx",
    programs: &["nginx"],
    packages: "nginx",
    configuration: nginx,
    arguments: &["-c"],
};

static APACHE: Foreign = Foreign {
    name: "apache",
    programs: &["apache2", "httpd"],
    packages: "apache2-bin (Debian, Ubuntu) or httpd (Fedora)",
    configuration: apache,
    arguments: &["-DFOREGROUND", "-f"],
};

fn nginx(setup: &Setup<'_>) -> String {
    let Setup { own, log, root, address, workers, as_root } = setup;
    let (own, log, root) = (own.display(), log.display(), root.display());
    // Without this workers would go by a user that small systems do not have.
    let user = if *as_root { "user root;\n" } else { "" };
    let dual = if address.is_ipv6() { " ipv6only=off" } else { "" };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("    {kind}_temp_path \"{own}/{kind}\";\n"))
        .collect();
    // What is sent is as Debian's own configuration says: sendfile and tcp_nopush.
    format!(
        "daemon off;\n\
         {user}worker_processes {workers};\n\
         pid \"{own}/pid\";\n\
         error_log \"{log}\";\n\
         events {{ worker_connections {CONNECTIONS}; }}\n\
         http {{\n\
         {temporary}    access_log off;\n    \
             log_not_found off;\n    \
             default_type application/octet-stream;\n    \
             sendfile on;\n    \
             tcp_nopush on;\n    \
             keepalive_timeout 60s;\n    \
             keepalive_requests 1000000000;\n    \
             server {{ listen {address} backlog=4096{dual}; root \"{root}\"; }}\n\
         }}\n"
    )
}

/// Where distributions keep Apache's modules.
const MODULES: [&str; 3] =
    ["/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/lib/httpd/modules"];

fn apache(setup: &Setup<'_>) -> String {
    let Setup { own, log, root, address, workers, as_root } = setup;
    let (own, log, root) = (own.display(), log.display(), root.display());
    // Some builds have the one or the other in the program itself.
    let modules: String = MODULES
        .iter()
        .flat_map(|folder| ["mpm_event", "unixd", "authz_core"].map(|name| (folder, name)))
        .map(|(folder, name)| (name, format!("{folder}/mod_{name}.so")))
        .filter(|(_, path)| Path::new(path).exists())
        .map(|(name, path)| format!("LoadModule {name}_module {path}\n"))
        .collect();
    // It refuses to serve as root.
    let user = if *as_root { "User nobody\nGroup #65534\n" } else { "" };
    let most = THREADS * workers;
    format!(
        "ServerRoot \"{own}\"\n\
         DefaultRuntimeDir \"{own}\"\n\
         ServerName localhost\n\
         {modules}{user}\
         Listen {address}\n\
         ListenBacklog 4096\n\
         PidFile \"{own}/pid\"\n\
         ErrorLog \"{log}\"\n\
         LogLevel error\n\
         DocumentRoot \"{root}\"\n\
         EnableSendfile On\n\
         KeepAlive On\n\
         KeepAliveTimeout 60\n\
         MaxKeepAliveRequests 0\n\
         ServerLimit {workers}\n\
         StartServers {workers}\n\
         ThreadsPerChild {THREADS}\n\
         MaxRequestWorkers {most}\n\
         MinSpareThreads 1\n\
         MaxSpareThreads {most}\n\
         AsyncRequestWorkerFactor {}\n\
         MaxConnectionsPerChild 0\n",
        CONNECTIONS / THREADS
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_is_stored() {
        for software in Software::ALL {
            assert_eq!(serde_json::to_value(software).unwrap(), software.name());
        }
    }

    #[test]
    fn a_configuration_says_where_and_what() {
        let mut setup = Setup {
            own: Path::new("/run/own"),
            log: Path::new("/run/own/log"),
            root: Path::new("/srv/www"),
            address: "[::]:80".parse().unwrap(),
            workers: 3,
            as_root: true,
        };
        let text = nginx(&setup);
        assert!(text.contains("\nuser root;\nworker_processes 3;\n"), "{text}");
        assert!(text.contains("listen [::]:80 backlog=4096 ipv6only=off; root \"/srv/www\";"));
        let text = apache(&setup);
        assert!(text.contains("\nUser nobody\n") && text.contains("\nServerLimit 3\n"), "{text}");
        assert!(text.contains("\nMaxRequestWorkers 192\n"), "{text}");
        setup.as_root = false;
        assert!(!nginx(&setup).contains("user ") && !apache(&setup).contains("User "));
    }
}
