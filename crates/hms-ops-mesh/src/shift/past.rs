//! What the ledger says about shifts of before.

use std::collections::BTreeMap;

use hms_ops_core::ledger::{Event, Recorded, Seq};
use hms_ops_core::mesh::{MeshError, ShiftReport, ShiftRequest, ShiftState, Split};

use super::{Inner, ledger_failed};
use crate::split::same_shares;

const PAGE: usize = 1000;

impl Inner {
    /// What a shift with this key came to, without doing anything.
    pub(super) async fn earlier(&self, key: &str) -> Result<ShiftReport, MeshError> {
        let (mut asked, mut reached) = (None, None);
        self.each_entry(|recorded| match &recorded.entry.event {
            Event::ShiftPlanned { shift, request } if shift == key => {
                asked = Some(request.service.clone());
            }
            Event::ShiftReached { shift, report } if shift == key => reached = Some(report.clone()),
            _ => {}
        })
        .await?;
        let no_end = || ShiftState::Unconfirmed {
            reason: format!("shift {key:?} was begun before, and the ledger has no end of it"),
        };
        match (reached, asked) {
            (Some(report), _) if !is_open(&report.state) => Ok(report),
            (Some(report), _) => Ok(ShiftReport { state: no_end(), ..report }),
            (None, Some(service)) => {
                let (from, to) = (Split::new(), Split::new());
                Ok(ShiftReport { service, from, to, state: no_end() })
            }
            (None, None) => {
                let gone =
                    format!("shift {key:?} was begun before, and the ledger holds none of it");
                Err(MeshError::Backend(gone.into()))
            }
        }
    }

    pub(super) async fn recover(&self) -> Result<(), MeshError> {
        let mut open: BTreeMap<String, (ShiftRequest, Option<ShiftReport>)> = BTreeMap::new();
        let mut last = Vec::new();
        self.each_entry(|recorded| match &recorded.entry.event {
            Event::ShiftPlanned { shift, request } => {
                open.insert(shift.clone(), (request.clone(), None));
            }
            Event::ShiftReached { shift, report } => {
                if report.state == ShiftState::Applied {
                    last.push((report.service.clone(), recorded.entry.at));
                }
                if is_open(&report.state) || matches!(report.state, ShiftState::Observed { .. }) {
                    if let Some((_, reached)) = open.get_mut(shift) {
                        *reached = Some(report.clone());
                    }
                } else {
                    open.remove(shift);
                }
            }
            _ => {}
        })
        .await?;
        self.flights().last.extend(last);
        for (key, (request, reached)) in open {
            let report = self.close(request, reached).await;
            self.write_report(&key, report).await?;
        }
        Ok(())
    }

    /// The end of a shift whose engine is gone, by what the mesh shows now.
    async fn close(&self, request: ShiftRequest, reached: Option<ShiftReport>) -> ShiftReport {
        let now = self.mesh.snapshot(&request.service).await.map(|now| now.split());
        let far = reached.as_ref().map_or("planned", |report| report.state.word());
        let shows = match (&now, &reached) {
            (Err(error), _) => error.to_string(),
            (Ok(now), Some(report)) if same_shares(now, &report.to) => {
                "the mesh has the split that was wished for".to_owned()
            }
            (Ok(now), Some(report)) if same_shares(now, &report.from) => {
                "the mesh has the split from before".to_owned()
            }
            (Ok(_), Some(_)) => "the mesh has neither the old nor the new split".to_owned(),
            (Ok(_), None) => "nothing was changed".to_owned(),
        };
        let reason = format!("the engine stopped when the shift was {far}; {shows}");
        let state = ShiftState::Unconfirmed { reason };
        let split = now.unwrap_or_default();
        let unknown = ShiftReport {
            service: request.service,
            from: split.clone(),
            to: split,
            state: ShiftState::Accepted,
        };
        ShiftReport { state, ..reached.unwrap_or(unknown) }
    }

    async fn each_entry(&self, mut see: impl FnMut(&Recorded)) -> Result<(), MeshError> {
        let mut from = Seq(1);
        loop {
            let page = self.journal.ledger().read(from, PAGE).await.map_err(ledger_failed)?;
            let Some(newest) = page.last() else { return Ok(()) };
            from = newest.seq.next();
            page.iter().for_each(|recorded| see(recorded));
        }
    }
}

/// Whether this is a state on the way, after which another must follow.
fn is_open(state: &ShiftState) -> bool {
    matches!(state, ShiftState::Accepted | ShiftState::Applied)
}
