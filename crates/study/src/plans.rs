//! The plans that come with vmeter.

/// A plan that comes with vmeter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! plans {
    ($($name:literal),* $(,)?) => {
        &[$(Listed { name: $name, text: include_str!(concat!("../../../plans/", $name, ".toml")) }),*]
    };
}

/// All of them.
pub const PLANS: &[Listed] = plans!["quick"];
