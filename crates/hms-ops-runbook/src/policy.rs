//! What runbooks may do: nothing, unless the policy grants it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use hms_ops_core::runbook::Capability;
use serde_json::Value as Json;

/// The grants of every runbook: deny by default.
///
/// ```toml
/// [runbook.rollover]
/// mesh.shift = { services = ["eligibility-svc"], to = ["cluster-b"] }
/// metrics.query = { series = ["eligibility.*"] }
/// params = { note = "see wiki/rollover" }
/// ```
///
/// A grant's key is the name of a capability; its value is the limits that the capability checks.
/// `params` is what `ctx.params()` gives the runbook. Notes need no grant, but a runbook without a
/// table does not run at all; an empty one is enough.
///
/// ```
/// use hms_ops_runbook::Policy;
///
/// let policy = Policy::parse("ops.toml", "[runbook.rollover]\nmesh.shift = { services = [] }")?;
/// assert!(policy.grant("rollover", "mesh.shift").is_some());
/// assert!(policy.grant("rollover", "metrics.query").is_none());
/// assert!(policy.grant("other", "mesh.shift").is_none());
/// # Ok::<(), hms_ops_runbook::policy::PolicyError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Policy {
    file: String,
    text: String,
    runbooks: BTreeMap<String, Json>,
}

/// Why a policy cannot be used; names file, line and key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read {file}")]
    Io { file: String, source: std::io::Error },

    /// The file is not a policy.
    #[error("{file}:{line}: {reason}")]
    Malformed { file: String, line: usize, reason: String },
}

const PARAMS: &str = "params";

impl Policy {
    /// Grants nothing but notes.
    pub fn deny_all() -> Self {
        Self::default()
    }

    /// Reads the tables `[runbook.NAME]` of a TOML file; other tables are not looked at.
    ///
    /// # Errors
    ///
    /// [`PolicyError`], with file and line.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, PolicyError> {
        let file = path.as_ref().display().to_string();
        let text = fs::read_to_string(path)
            .map_err(|source| PolicyError::Io { file: file.clone(), source })?;
        Self::parse(&file, &text)
    }

    /// Reads a policy from text; `file` is for messages.
    ///
    /// # Errors
    ///
    /// [`PolicyError`], with file and line.
    pub fn parse(file: &str, text: &str) -> Result<Self, PolicyError> {
        #[derive(serde::Deserialize)]
        struct File {
            #[serde(default)]
            runbook: BTreeMap<String, BTreeMap<String, Json>>,
        }
        let read: File = toml::from_str(text).map_err(|e| PolicyError::Malformed {
            file: file.to_owned(),
            line: e.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1),
            reason: e.message().to_owned(),
        })?;
        let table = |table: BTreeMap<_, _>| Json::Object(table.into_iter().collect());
        let runbooks = read.runbook.into_iter().map(|(name, grants)| (name, table(grants)));
        Ok(Self { file: file.to_owned(), text: text.to_owned(), runbooks: runbooks.collect() })
    }

    /// Whether the policy speaks of a runbook at all, be it to grant nothing but notes.
    pub fn names(&self, runbook: &str) -> bool {
        self.runbooks.contains_key(runbook)
    }

    /// The limits within which a runbook may call a capability; `None` when it may not.
    pub fn grant(&self, runbook: &str, capability: &str) -> Option<&Json> {
        let grants = self.runbooks.get(runbook)?;
        // `mesh.shift = …` is a table in a table to TOML, `"mesh.shift" = …` is not.
        let nested = || capability.split('.').try_fold(grants, |table, key| table.get(key));
        grants.get(capability).or_else(nested)
    }

    /// What the configuration gives a runbook as its parameters; `null` where there is nothing.
    pub fn params(&self, runbook: &str) -> Json {
        self.runbooks.get(runbook).and_then(|r| r.get(PARAMS)).cloned().unwrap_or(Json::Null)
    }

    /// Checks that every grant is for a runbook and a capability that exist, and makes sense to it.
    ///
    /// # Errors
    ///
    /// The first [`PolicyError::Malformed`], with file and line.
    pub fn check(
        &self,
        runbooks: &[&str],
        capabilities: &BTreeMap<String, Arc<dyn Capability>>,
    ) -> Result<(), PolicyError> {
        for (runbook, grants) in &self.runbooks {
            if !runbooks.contains(&runbook.as_str()) {
                let reason = format!("no runbook is called {runbook:?} (there are: {runbooks:?})");
                return Err(self.malformed(runbook, runbook, reason));
            }
            for (key, value) in grants.as_object().into_iter().flatten() {
                if key != PARAMS {
                    self.check_key(runbook, key, value, capabilities)?;
                }
            }
        }
        Ok(())
    }

    fn check_key(
        &self,
        runbook: &str,
        key: &str,
        value: &Json,
        capabilities: &BTreeMap<String, Arc<dyn Capability>>,
    ) -> Result<(), PolicyError> {
        if let Some(capability) = capabilities.get(key) {
            return capability.check_grant(value).map_err(|reason| {
                self.malformed(runbook, key, format!("runbook.{runbook}.{key}: {reason}"))
            });
        }
        let inner = format!("{key}.");
        match value.as_object() {
            Some(table) if capabilities.keys().any(|name| name.starts_with(&inner)) => {
                for (last, value) in table {
                    self.check_key(runbook, &format!("{inner}{last}"), value, capabilities)?;
                }
                Ok(())
            }
            _ => {
                let known: Vec<_> = capabilities.keys().collect();
                let reason = format!(
                    "runbook.{runbook} grants {key:?}, which is no capability (there are: {known:?})"
                );
                Err(self.malformed(runbook, key, reason))
            }
        }
    }

    /// Finds the line by looking for the key below the runbook's header; good enough for people.
    fn malformed(&self, runbook: &str, key: &str, reason: String) -> PolicyError {
        let last = key.rsplit('.').next().unwrap_or(key);
        let header = self.text.lines().position(|line| line.contains(runbook)).unwrap_or(0);
        let below = self.text.lines().skip(header).position(|line| line.contains(last));
        let line = header + below.unwrap_or(0) + 1;
        PolicyError::Malformed { file: self.file.clone(), line, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::NoteCapability;

    #[test]
    fn a_policy_grants_nothing_that_it_does_not_name() {
        let policy = Policy::deny_all();
        assert!(policy.grant("rollover", "mesh.shift").is_none());
        let text = "[runbook.rollover]\n\"mesh.shift\" = { to = [\"b\"] }\nparams = { x = 1 }\n";
        let policy = Policy::parse("ops.toml", text).unwrap();
        assert_eq!(policy.grant("rollover", "mesh.shift").unwrap()["to"][0], "b");
        assert_eq!(policy.params("rollover")["x"], 1);
        assert_eq!(policy.params("other"), Json::Null);
    }

    #[test]
    fn a_broken_policy_names_file_line_and_key() {
        let error = Policy::parse("ops.toml", "[runbook.rollover]\nmesh.shift = {").unwrap_err();
        assert!(error.to_string().starts_with("ops.toml:2: "), "{error}");

        let note: Arc<dyn Capability> = Arc::new(NoteCapability);
        let capabilities = BTreeMap::from([("note".to_owned(), note)]);
        let text = "# x\n[runbook.rollover]\nmesh.shfit = { to = [\"b\"] }\n";
        let policy = Policy::parse("ops.toml", text).unwrap();
        let error = policy.check(&["rollover"], &capabilities).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ops.toml:3: runbook.rollover grants \"mesh\", which is no capability \
             (there are: [\"note\"])"
        );
        let error = policy.check(&["roll"], &capabilities).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ops.toml:2: no runbook is called \"rollover\" (there are: [\"roll\"])"
        );
    }
}
