//! Targets from names: their addresses, by the resolver of the system, or their SRV records.

use std::io;
use std::time::Duration;

use hms_ops_core::labels::Labels;

use super::Reporter;
use crate::scrape_config::{Group, Records};

mod srv;

/// Resolves `names` each `refresh`; one that fails keeps its last good targets.
pub(super) async fn resolve(
    names: Vec<String>,
    records: Records,
    refresh: Duration,
    reporter: Reporter,
) {
    let mut groups: Vec<Group> = Vec::new();
    groups.resize(names.len(), Group { targets: Vec::new(), labels: Labels::empty() });
    loop {
        let mut error = None;
        for (name, group) in names.iter().zip(&mut groups) {
            match targets(name, records).await {
                Ok(targets) => {
                    let labels = Labels::from_pairs([("__meta_dns_name", name.as_str())]);
                    *group = Group { targets, labels };
                }
                Err(reason) => error = Some(format!("{name}: {reason}")),
            }
        }
        reporter.report(groups.clone(), error).await;
        tokio::time::sleep(refresh).await;
    }
}

async fn targets(name: &str, records: Records) -> io::Result<Vec<Labels>> {
    let (wants_v4, port) = match records {
        Records::Srv => {
            let mut targets: Vec<_> = srv::lookup(name).await?.iter().map(of_record).collect();
            targets.sort();
            return Ok(targets);
        }
        Records::V4(port) => (true, port),
        Records::V6(port) => (false, port),
    };
    let addresses = tokio::net::lookup_host((name, port)).await?;
    let wanted = addresses.filter(|address| address.is_ipv4() == wants_v4);
    let mut addresses: Vec<_> = wanted.map(|address| address.to_string()).collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses.into_iter().map(|a| Labels::from_pairs([("__address__", a)])).collect())
}

fn of_record(record: &srv::Record) -> Labels {
    let srv::Record { target, port } = record;
    Labels::from_pairs([
        ("__address__", format!("{}:{port}", target.trim_end_matches('.'))),
        ("__meta_dns_srv_record_target", target.clone()),
        ("__meta_dns_srv_record_port", port.to_string()),
    ])
}
