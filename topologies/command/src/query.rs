//! `topo query`: what a topology that runs keeps for its keys.
//!
//! Invariant: what a value brings along is printed without control characters.

use std::io::{self, Write};

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use crate::failure::Failure;
use crate::lines::shown;
use crate::page::{Page, PageAt, encoded};

/// Said below the verb's help.
const HELP: &str = "\
A key is JSON, such as 7, [\"a\", 1] or {\"user\": \"ann\"}, or else text. A value is that of now, whether or not it is in the \
state's changelog yet.";

/// `topo query`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Query {
    /// The topology's name or id
    topology: String,
    /// The state, or COMPONENT/STATE; without it, all states are listed
    state: Option<String>,
    /// The key whose value to print; without it, the states are listed with how many values each has
    #[arg(long, value_name = "K", requires = "state", allow_hyphen_values = true)]
    key: Option<String>,
    /// Print what the page answers, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    page: Page,
}

/// Why there is no value to print.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    /// No such state.
    #[error("topology `{topology}` has no state `{state}`; it has {there_are}")]
    NoSuchState {
        /// The topology.
        topology: String,
        /// What was asked for.
        state: String,
        /// The states that there are.
        there_are: String,
    },
    /// Two components have one of that name.
    #[error("a state `{0}` is in several components; say COMPONENT/{0}")]
    WhichState(String),
    /// The state has nothing for the key.
    #[error("state `{state}` has no value for key {key}")]
    NoValue {
        /// The state.
        state: String,
        /// The key asked for.
        key: String,
    },
    /// The state refused or its task did not answer.
    #[error("{0}")]
    Refused(String),
}

#[derive(Debug, Deserialize)]
struct States {
    states: Vec<State>,
}

#[derive(Debug, Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct State {
    topology: String,
    component: String,
    state: String,
    entries: u64,
    bytes: Option<u64>,
    changelog: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    found: bool,
    value: Value,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    error: String,
}

impl Query {
    /// Asks the page and prints to standard output.
    ///
    /// # Errors
    /// Those of the page, of the state, and of standard output.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let (page, id) = self.page.topology(Some(&self.topology)).await?;
        let States { mut states } = page.json(&page.get("/api/state").await?)?;
        states.retain(|state| state.topology == id);
        if let Some(asked) = &self.state {
            let names: Vec<String> =
                states.iter().map(|one| format!("{}/{}", one.component, one.state)).collect();
            states.retain(|one| one.state == *asked || format!("{}/{}", one.component, one.state) == *asked);
            if states.is_empty() {
                let there_are = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                let (topology, state) = (self.topology.clone(), asked.clone());
                return Err(QueryError::NoSuchState { topology, state, there_are }.into());
            }
        }
        let text = match (&self.key, &*states) {
            (None, _) => self.list(&states),
            (Some(key), [state]) => self.value(&page, state, key).await?,
            (Some(_), _) => return Err(QueryError::WhichState(self.state.unwrap_or_default()).into()),
        };
        io::stdout().lock().write_all(text.as_bytes()).map_err(Failure::Output)
    }

    fn list(&self, states: &[State]) -> String {
        if self.json {
            return serde_json::json!({ "states": states }).to_string() + "\n";
        }
        if states.is_empty() {
            return format!("{} keeps no state\n", shown(&self.topology));
        }
        let line = |state: &State| {
            let name = format!("{}/{}", state.component, state.state);
            let kept = match &state.changelog {
                Some(topic) => format!("{} bytes, kept in {topic}", state.bytes.unwrap_or_default()),
                None => "kept nowhere".to_owned(),
            };
            let values = if state.entries == 1 { "value" } else { "values" };
            shown(&format!("{name}: {} {values}, {kept}", state.entries)) + "\n"
        };
        states.iter().map(line).collect()
    }

    async fn value(&self, page: &PageAt, state: &State, key: &str) -> Result<String, Failure> {
        let State { topology, component, state, .. } = state;
        let [component_part, state_part, key_part, topology_part] =
            [component, state, key, topology].map(encoded);
        let path =
            format!("/api/state/{component_part}/{state_part}?key={key_part}&topology={topology_part}");
        let (status, body) = page.ask_for(&path).await?;
        if !status.is_success() {
            let refusal: Refusal = page.json(&body)?;
            return Err(QueryError::Refused(shown(&refusal.error)).into());
        }
        let Answer { found, value } = page.json(&body)?;
        if self.json {
            return Ok(shown(&String::from_utf8_lossy(&body)) + "\n");
        }
        if !found {
            return Err(QueryError::NoValue { state: state.clone(), key: shown(key) }.into());
        }
        Ok(shown(&value.as_str().map_or_else(|| value.to_string(), str::to_owned)) + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_key_is_it_is_one_part_of_the_query() {
        assert_eq!(encoded("to-be_1.~"), "to-be_1.~");
        assert_eq!(encoded("a b&c=ä/%"), "a%20b%26c%3D%C3%A4%2F%25");
    }
}
