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
pub const PLANS: &[Listed] = plans![
    "quick",
    "table-5.1",
    "table-5.2",
    "fig-5.2",
    "fig-6.1",
    "fig-6.2",
    "fig-6.3",
    "fig-6.4",
    "fig-6.5",
    "fig-6.7",
    "fig-6.9",
    "fig-6.10",
    "fig-6.11",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::schedule::schedule;

    #[test]
    fn every_plan_can_be_and_has_its_own_name() {
        for listed in PLANS {
            let plan = Plan::parse(listed.text, listed.name).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(plan.id, listed.name);
            assert!(!plan.question.is_empty() && !plan.takes.is_empty(), "{}", plan.id);
            assert!(!schedule(&plan).is_empty() && !plan.figures.is_empty());
        }
        let readme = include_str!("../../../plans/README.md");
        assert!(PLANS.iter().all(|listed| readme.contains(&format!("| {} |", listed.name))));
    }
}
