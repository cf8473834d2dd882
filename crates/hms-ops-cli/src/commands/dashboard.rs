//! `hms-ops dashboard`: opens the page of a service.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::failure::{Misuse, line};
use crate::get::{self, encoded};
use crate::screen::plain;

/// What `api/services` answers.
#[derive(Debug, Deserialize)]
pub(crate) struct Services {
    services: Vec<Named>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

impl Services {
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.services.iter().map(|service| service.name.as_str())
    }
}

pub(crate) async fn run(service: &str, url: &str, open: bool) -> Result<()> {
    let url = format!("{}/", url.trim_end_matches('/'));
    let known = get::get_ok(&format!("{url}api/services")).await.map_err(|error| {
        Misuse(format!(
            "no engine answers at {url} ({}); `hms-ops lab` or `hms-ops serve` starts one",
            line(&error)
        ))
    })?;
    let known: Services = serde_json::from_str(&known)
        .map_err(|_| Misuse(format!("{url} is not an engine's page")))?;
    if !known.names().any(|name| name == service) {
        return Err(Misuse(unknown(service, &known)).into());
    }
    let page = format!("{url}?service={}", encoded(service));
    println!("{page}");
    if open { open_browser(&page) } else { Ok(()) }
}

fn unknown(service: &str, known: &Services) -> String {
    let names: Vec<_> = known.names().map(plain).collect();
    match names.as_slice() {
        [] => format!("no service {service:?}: the engine knows of none yet"),
        names => format!("no service {service:?}: there is {}", names.join(", ")),
    }
}

fn open_browser(page: &str) -> Result<()> {
    let mut opener = if cfg!(target_os = "macos") {
        Command::new("open")
    } else if cfg!(windows) {
        let mut command = Command::new("rundll32");
        command.arg("url.dll,FileProtocolHandler");
        command
    } else {
        Command::new("xdg-open")
    };
    let opener = opener.arg(page).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = opener.status().context("cannot open a browser; open the URL by hand")?;
    anyhow::ensure!(status.success(), "no browser opened; open the URL by hand");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_service_is_told_those_that_exist() {
        let known: Services =
            serde_json::from_str(r#"{"services":[{"name":"a","firing":0},{"name":"b"}]}"#).unwrap();
        assert_eq!(unknown("c", &known), "no service \"c\": there is a, b");
        let none = Services { services: vec![] };
        assert_eq!(unknown("c", &none), "no service \"c\": the engine knows of none yet");
    }
}
