//! The tables `[[slo]]`.

use std::time::Duration;

use hms_ops_alert::Slo;
use hms_ops_alert::slo::{Period, Severity, SloError};
use serde::Deserialize;
use toml::Spanned;

use super::{Config, ConfigError};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SloTable {
    name: Spanned<String>,
    service: Option<String>,
    objective: Spanned<String>,
    latency: Option<Spanned<Latency>>,
    ratio: Option<Spanned<Ratio>>,
    availability: Option<Spanned<String>>,
    period: Option<Spanned<String>>,
    slices: Option<Spanned<Slices>>,
    recover: Option<Spanned<String>>,
    traffic: Option<f64>,
    burn: Option<Spanned<Vec<Burn>>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Latency {
    metric: String,
    limit: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ratio {
    total: String,
    bad: Option<String>,
    good: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slices {
    length: Spanned<String>,
    target: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Burn {
    severity: Severity,
    long: Spanned<String>,
    short: Spanned<String>,
    above: String,
}

impl Config {
    pub(crate) fn slos(&self) -> Result<Vec<Slo>, ConfigError> {
        self.file.slo.iter().map(|table| self.slo(table)).collect()
    }

    fn slo(&self, spanned: &Spanned<SloTable>) -> Result<Slo, ConfigError> {
        let table = spanned.get_ref();
        let mut slo = Slo::new(table.name.get_ref()).objective(table.objective.get_ref());
        if let Some(service) = &table.service {
            slo = slo.service(service.as_str());
        }
        if let Some(latency) = table.latency.as_ref().map(Spanned::get_ref) {
            slo = slo.latency(&latency.metric, latency.limit);
        }
        if let Some(spanned) = &table.ratio {
            let Ratio { total, bad, good } = spanned.get_ref();
            slo = match (bad, good) {
                (Some(bad), None) => slo.bad_ratio(bad, total),
                (None, Some(good)) => slo.good_ratio(good, total),
                _ => {
                    let reason = "a ratio has a total, and either `bad` or `good`".to_owned();
                    return Err(self.malformed(spanned.span().start, reason));
                }
            };
        }
        if let Some(gauge) = &table.availability {
            slo = slo.availability(gauge.get_ref());
        }
        if let Some(period) = &table.period {
            slo = slo.period(match period.get_ref().as_str() {
                "week" => Period::Week,
                "month" => Period::Month,
                _ => Period::Rolling(self.duration(period)?),
            });
        }
        if let Some(slices) = table.slices.as_ref().map(Spanned::get_ref) {
            slo = slo.slices(self.duration(&slices.length)?, &slices.target);
        }
        if let Some(recover) = &table.recover {
            slo = slo.recover(self.duration(recover)?);
        }
        if let Some(traffic) = table.traffic {
            slo = slo.traffic(traffic);
        }
        for burn in table.burn.iter().flat_map(Spanned::get_ref) {
            let [long, short]: [Duration; 2] =
                [self.duration(&burn.long)?, self.duration(&burn.short)?];
            slo = slo.burn(burn.severity, long, short, &burn.above);
        }
        // Of several mistakes all are told, at the line of the first.
        slo.build().map_err(|refused| {
            let key = refused.errors.first().map_or("", SloError::key);
            let at = match key {
                "objective" => Some(table.objective.span()),
                "latency" => table.latency.as_ref().map(Spanned::span),
                "total" | "bad" | "good" => table.ratio.as_ref().map(Spanned::span),
                "availability" => table.availability.as_ref().map(Spanned::span),
                "period" => table.period.as_ref().map(Spanned::span),
                "slices" => table.slices.as_ref().map(Spanned::span),
                "burn" => table.burn.as_ref().map(Spanned::span),
                _ => Some(table.name.span()),
            };
            let at = at.unwrap_or_else(|| table.objective.span());
            self.malformed(at.start, refused.to_string())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLO: &str = "\n[[slo]]\nname = \"claims\"\nobjective = \"99.9\"\n";

    fn parse(more: &str) -> Result<Vec<Slo>, String> {
        let text = format!("{SLO}{more}");
        let config = Config::parse("ops.toml", &text).map_err(|e| e.to_string())?;
        config.slos().map_err(|e| e.to_string())
    }

    #[test]
    fn an_slo_is_said_in_the_same_words_as_in_code() {
        let slos = parse(
            "service = \"claims-svc\"\nlatency = { metric = \"claims.latency_ms\", limit = 500 }\n\
             period = \"month\"\n[[slo.burn]]\nseverity = \"page\"\nlong = \"2h\"\nshort = \"10m\"\n\
             above = \"7.5\"\n",
        );
        let slo = &slos.unwrap()[0];
        assert_eq!((slo.name(), slo.period()), ("claims", Period::Month));
        assert_eq!(slo.alerts().len(), 1);
        assert_eq!(slo.alerts()[0].burn.to_string(), "7.5");
    }

    #[test]
    fn a_mistake_of_an_slo_names_file_line_and_what_is_wrong() {
        for (more, error) in [
            ("", "ops.toml:3: SLO \"claims\": one of latency, ratio and availability must"),
            (
                "availability = \"up{\"\n",
                "ops.toml:5: SLO \"claims\": availability \"up{\" is not a",
            ),
            ("ratio = { total = \"a\" }\n", "ops.toml:5: a ratio has a total, and either"),
            (
                "availability = \"up\"\nperiod = \"fortnight\"\n",
                "ops.toml:6: \"fortnight\" is not a",
            ),
            ("availability = \"up\"\nperiod = \"2m\"\n", "ops.toml:6: SLO \"claims\": a period of"),
            ("latancy = 1\n", "ops.toml:5: unknown field `latancy`"),
        ] {
            let refused = parse(more).unwrap_err();
            assert!(refused.starts_with(error), "{refused}");
        }
        let text = SLO.replace("99.9", "90");
        let refused = Config::parse("ops.toml", &format!("{text}availability = \"up\"\n"));
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.starts_with("ops.toml:4: SLO \"claims\": a burn rate above 14.4"),
            "{refused}"
        );
    }
}
