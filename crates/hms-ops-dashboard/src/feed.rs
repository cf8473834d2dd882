//! The fold of the ledger as the page shows it: alerts and timelines by service.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hms_ops_core::alert::{AlertHealth, AlertState, AlertStatus, Fingerprint};
use hms_ops_core::ledger::{Event, History, Ledger, LedgerError, Recorded, Seq};
use hms_ops_core::name::{Service, Unit};
use hms_ops_core::time::Timestamp;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::tasks::Stop;
use crate::timeline::{Item, describe, execution};

/// How many items of a timeline are kept.
pub(crate) const MAX_ITEMS: usize = 200;
/// How many alerts of a service are shown.
const MAX_ALERTS: usize = 200;
/// How many services have a timeline of their own.
const MAX_TIMELINES: usize = 1000;
/// How many executions and notifications are remembered for what follows them.
const MAX_OWNERS: usize = 10_000;
/// How many entries are read at a time.
const PAGE: usize = 1000;
/// How long to wait after the ledger failed.
const RETRY: Duration = Duration::from_secs(1);

/// What is known from the ledger, shared by the task that follows it and all who read.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    board: RwLock<Board>,
    folded: watch::Sender<Option<Seq>>,
}

impl Feed {
    /// Reads the ledger from its beginning and goes on as it grows, until it shall stop.
    pub(crate) async fn follow(self: Arc<Self>, ledger: Arc<dyn Ledger>, mut stop: Stop) {
        loop {
            let step = async {
                if self.advance(&*ledger).await.is_err() {
                    // Readers get what there is rather than wait for a ledger that may be gone.
                    self.publish();
                    sleep(RETRY).await;
                }
            };
            tokio::select! {
                () = stop.requested() => break,
                () = step => {}
            }
        }
        // Nobody shall wait for what does not come any more.
        self.publish();
    }

    /// Folds the next entries in, waiting for them where there are none yet.
    async fn advance(&self, ledger: &dyn Ledger) -> Result<(), LedgerError> {
        let seq = self.read(|board| board.history.seq);
        let page = ledger.read(seq.next(), PAGE).await?;
        {
            let mut board = self.board.write().unwrap_or_else(PoisonError::into_inner);
            page.iter().for_each(|recorded| board.apply(recorded));
        }
        if page.len() < PAGE {
            self.publish();
        }
        if page.is_empty() && ledger.changed(seq).await? <= seq {
            sleep(RETRY).await;
        }
        Ok(())
    }

    fn publish(&self) {
        let seq = self.read(|board| board.history.seq);
        self.folded.send_if_modified(|folded| folded.replace(seq) != Some(seq));
    }

    /// Changes with every fold; `None` until the ledger was read up to its end once.
    pub(crate) fn folded(&self) -> watch::Receiver<Option<Seq>> {
        self.folded.subscribe()
    }

    /// Waits until the ledger was read up to its end once.
    pub(crate) async fn caught_up(&self) {
        // `self` holds the sender, so there is no error.
        let _ = self.folded().wait_for(Option::is_some).await;
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&Board) -> T) -> T {
        read(&self.board.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An alert as the page shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Alert {
    name: String,
    fingerprint: Fingerprint,
    state: &'static str,
    health: AlertHealth,
    since: Timestamp,
    value: Option<f64>,
    threshold: Option<f64>,
    unit: &'static str,
    summary: String,
}

/// Alerts and timelines by service. What belongs to no service shows on all.
#[derive(Debug, Default)]
pub(crate) struct Board {
    history: History,
    /// When each alert had its last transition.
    changed: BTreeMap<Fingerprint, Timestamp>,
    owners: Owners,
    timelines: BTreeMap<Service, VecDeque<Arc<Item>>>,
    common: VecDeque<Arc<Item>>,
}

impl Board {
    fn apply(&mut self, recorded: &Recorded) {
        self.history.apply(recorded);
        if let Event::Transition { alert, .. } = &recorded.entry.event {
            self.changed.insert(alert.fingerprint.clone(), recorded.entry.at);
        }
        let item = Arc::new(describe(recorded));
        let timeline = match self.owners.service_of(&recorded.entry.event) {
            Some(service) => {
                self.make_room(&service);
                self.timelines.entry(service).or_default()
            }
            None => &mut self.common,
        };
        timeline.push_back(item);
        if timeline.len() > MAX_ITEMS {
            timeline.pop_front();
        }
    }

    /// Drops the timeline that has been quiet for longest when a new one would be one too many.
    fn make_room(&mut self, service: &Service) {
        if self.timelines.len() < MAX_TIMELINES || self.timelines.contains_key(service) {
            return;
        }
        let newest = |items: &VecDeque<Arc<Item>>| items.back().map(|item| item.seq);
        let quietest = self.timelines.iter().min_by_key(|(_, items)| newest(items));
        if let Some(quietest) = quietest.map(|(service, _)| service.clone()) {
            self.timelines.remove(&quietest);
        }
    }

    /// The alerts of a service, active ones first, then by name. States are those of the ledger;
    /// `live` has the engine's newest numbers, and the alerts that never had a transition.
    pub(crate) fn alerts(&self, service: &Service, live: &[AlertStatus]) -> Vec<Alert> {
        let newest: BTreeMap<_, _> = live.iter().map(|alert| (&alert.fingerprint, alert)).collect();
        let known = &self.history.alerts;
        let quiet = live.iter().filter(|alert| {
            alert.state == AlertState::Inactive && !known.contains_key(&alert.fingerprint)
        });
        let quiet = quiet.filter(|alert| is_shown(alert, service));
        let mut all: Vec<_> = self.alerts_of(service).chain(quiet).collect();
        all.sort_by_key(|alert| (!alert.state.is_active(), &alert.name, &alert.fingerprint));
        all.truncate(MAX_ALERTS);
        let numbers = |alert: &AlertStatus| newest.get(&alert.fingerprint).copied();
        all.into_iter().map(|alert| self.show(alert, numbers(alert).unwrap_or(alert))).collect()
    }

    /// How many alerts of a service are active: firing, or recovering from it.
    pub(crate) fn firing(&self, service: &Service) -> usize {
        self.alerts_of(service).filter(|alert| alert.state.is_active()).count()
    }

    fn alerts_of(&self, service: &Service) -> impl Iterator<Item = &AlertStatus> {
        self.history.alerts.values().filter(move |alert| is_shown(alert, service))
    }

    /// An alert as it stands, with the numbers of `newest`.
    fn show(&self, alert: &AlertStatus, newest: &AlertStatus) -> Alert {
        let changed = self.changed.get(&alert.fingerprint).copied();
        Alert {
            name: alert.name.clone(),
            fingerprint: alert.fingerprint.clone(),
            state: alert.state.word(),
            health: newest.health,
            since: alert.state.since().or(changed).unwrap_or_default(),
            value: newest.value,
            threshold: newest.threshold,
            unit: Unit::of(&alert.name).symbol(),
            summary: newest.summary.clone(),
        }
    }

    /// The newest items after `after` that show on a service's page, ascending, at most
    /// [`MAX_ITEMS`].
    pub(crate) fn timeline(&self, service: &Service, after: Seq) -> Vec<Arc<Item>> {
        let own = self.timelines.get(service).into_iter().flatten();
        let mut items: Vec<_> =
            own.chain(&self.common).filter(|item| item.seq > after).cloned().collect();
        items.sort_by_key(|item| item.seq);
        items.drain(..items.len().saturating_sub(MAX_ITEMS));
        items
    }

    /// The newest entry that was folded in.
    pub(crate) fn seq(&self) -> Seq {
        self.history.seq
    }
}

/// What belongs to no service shows on every page.
fn is_shown(alert: &AlertStatus, service: &Service) -> bool {
    alert.service.as_ref().is_none_or(|of| of == service)
}

/// Which service an entry belongs to, where an earlier entry said so.
#[derive(Debug, Default)]
struct Owners {
    services: HashMap<String, Option<Service>>,
    arrival: VecDeque<String>,
}

impl Owners {
    fn service_of(&mut self, event: &Event) -> Option<Service> {
        if let Some(execution) = execution(event) {
            if let Event::RunClaimed { service, .. } = event {
                self.remember(execution.to_string(), service.as_deref().map(Service::from));
            }
            return self.services.get(execution.as_str()).cloned().flatten();
        }
        match event {
            Event::Transition { alert, .. } => alert.service.clone(),
            Event::ShiftPlanned { request, .. } => Some(request.service.clone()),
            Event::ShiftReached { report, .. } => Some(report.service.clone()),
            Event::NotificationQueued { notification, .. } => {
                let service = notification.alert.service.clone();
                self.remember(notification.key.clone(), service.clone());
                service
            }
            Event::NotificationSettled { key, .. } => self.services.get(key).cloned().flatten(),
            _ => None,
        }
    }

    fn remember(&mut self, key: String, service: Option<Service>) {
        if self.services.insert(key.clone(), service).is_none() {
            self.arrival.push_back(key);
        }
        if self.arrival.len() > MAX_OWNERS
            && let Some(oldest) = self.arrival.pop_front()
        {
            self.services.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use hms_ops_core::labels::Labels;
    use hms_ops_core::ledger::Entry;
    use hms_ops_core::notify::Notification;

    use super::*;

    #[test]
    fn a_notification_belongs_to_the_service_of_its_alert_up_to_its_end() {
        let mut board = Board::default();
        let (receiver, key) = ("on-call".to_owned(), "k".to_owned());
        let at = Timestamp::from_millis(0);
        let notification = Notification { key: key.clone(), at, alert: alert("claims") };
        apply(&mut board, Event::NotificationQueued { receiver: receiver.clone(), notification });
        let result = Ok("accepted".to_owned());
        apply(&mut board, Event::NotificationSettled { receiver, key, result });
        assert_eq!(board.timeline(&"claims".into(), Seq(0)).len(), 2);
        assert_eq!(board.timeline(&"claims".into(), Seq(1)).len(), 1);
        assert_eq!(board.timeline(&"else".into(), Seq(0)).len(), 0);
    }

    #[test]
    fn active_alerts_come_first_and_an_inactive_one_has_the_time_of_its_change() {
        let mut board = Board::default();
        for (name, state) in [
            ("a", AlertState::Inactive),
            ("c", AlertState::Firing { since: Timestamp::from_millis(7) }),
            (
                "b",
                AlertState::Resolved {
                    firing_since: Timestamp::from_millis(1),
                    at: Timestamp::from_millis(2),
                },
            ),
        ] {
            let fingerprint = Fingerprint::of(name, &Labels::empty());
            let alert = AlertStatus { name: name.into(), fingerprint, state, ..alert("claims") };
            apply(&mut board, Event::Transition { from: "pending".into(), alert });
        }
        let alerts = board.alerts(&"claims".into(), &[]);
        let shown: Vec<_> = alerts.iter().map(|a| (&*a.name, a.since.as_millis())).collect();
        assert_eq!(shown, [("c", 7), ("a", 1000), ("b", 2)]);
        assert_eq!(board.firing(&"claims".into()), 1);
    }

    #[test]
    fn an_alert_has_the_state_of_the_ledger_and_the_newest_numbers() {
        let mut board = Board::default();
        let event = Event::Transition { from: "pending".into(), alert: alert("claims") };
        apply(&mut board, event);
        let pending = AlertState::Pending { since: Timestamp::from_millis(9) };
        let live = |name: &str, state| {
            let fingerprint = Fingerprint::of(name, &Labels::from_pairs([("service", "claims")]));
            let (name, value) = (name.to_owned(), Some(7.0));
            AlertStatus { name, fingerprint, state, value, ..alert("claims") }
        };
        let live = [
            live("x", AlertState::Inactive),
            live("quiet", AlertState::Inactive),
            live("not yet written", pending),
        ];
        let alerts = board.alerts(&"claims".into(), &live);
        let shown: Vec<_> = alerts.iter().map(|a| (&*a.name, a.state, a.value)).collect();
        assert_eq!(shown, [("x", "firing", Some(7.0)), ("quiet", "inactive", Some(7.0))]);
    }

    #[test]
    fn the_timeline_that_was_quiet_for_longest_makes_room_for_a_new_one() {
        let mut board = Board::default();
        let mut change = |service: &str| {
            let event = Event::Transition { from: "pending".into(), alert: alert(service) };
            apply(&mut board, event);
        };
        (0..MAX_TIMELINES).for_each(|n| change(&n.to_string()));
        change("0");
        change("new");
        let length = |service: &str| board.timeline(&service.into(), Seq(0)).len();
        assert_eq!((length("0"), length("1"), length("2"), length("new")), (2, 0, 1, 1));
    }

    fn apply(board: &mut Board, event: Event) {
        let seq = board.seq().next();
        let at = Timestamp::from_millis(1000 * seq.0 as i64);
        let entry = Entry { at, actor: "engine".into(), event };
        board.apply(&Recorded::chain(seq, 1, String::new(), entry));
    }

    fn alert(service: &str) -> AlertStatus {
        AlertStatus {
            name: "x".into(),
            fingerprint: Fingerprint::of("x", &Labels::from_pairs([("service", service)])),
            service: Some(service.into()),
            labels: Labels::empty(),
            state: AlertState::Firing { since: Timestamp::from_millis(1) },
            health: AlertHealth::Ok,
            value: None,
            threshold: None,
            summary: String::new(),
        }
    }
}
