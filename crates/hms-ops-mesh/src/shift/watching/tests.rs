use hms_ops_core::name::Service;
use proptest::prelude::*;

use super::*;

/// What happened to one cluster between two readings.
#[derive(Clone, Copy, Debug)]
struct Tick {
    requests: u64,
    errors: u64,
    active: u64,
    restarts: bool,
    silent: bool,
}

fn tick() -> impl Strategy<Value = Tick> {
    (0u64..12, 0.0..1.0, 0u64..2, prop::bool::weighted(0.05), prop::bool::weighted(0.1)).prop_map(
        |(requests, ratio, active, restarts, silent)| {
            let errors = (requests as f64 * f64::max(0.0, ratio - 0.85)) as u64;
            // Most clusters are quiet at most times, or nothing would ever be observed.
            let requests = if requests < 6 { 0 } else { requests };
            Tick { requests, errors: errors.min(requests), active, restarts, silent }
        },
    )
}

fn plan(percent: u32) -> Plan {
    let split = |a, b| vec![("cluster-a".into(), a), ("cluster-b".into(), b)];
    let (from, to) = (split(100, 0), split(100 - percent, percent));
    Plan { service: Service::new("svc"), revision: 1, from, to, key: "k".to_owned() }
}

/// Counters that the ticks move; `None` for the reading before the shift.
#[derive(Default)]
struct Counters([(u64, u64); 2], [u64; 2]);

impl Counters {
    fn reading(&mut self, at: Duration, ticks: Option<[Tick; 2]>) -> Reading {
        let clusters = (0..2).map(|i| {
            let none = Tick { requests: 0, errors: 0, active: 0, restarts: false, silent: false };
            let tick = ticks.map_or(none, |ticks| ticks[i]);
            let (requests, errors) = &mut self.0[i];
            if tick.restarts {
                (*requests, *errors) = (0, 0);
            }
            *requests += tick.requests;
            *errors += tick.errors;
            self.1[i] += tick.requests;
            let served = Served { requests: *requests as f64, errors: *errors as f64 };
            let sent = ClusterTraffic {
                cluster: if i == 0 { "cluster-a".into() } else { "cluster-b".into() },
                requests: self.1[i],
                errors: 0,
                active: tick.active,
            };
            let served =
                if tick.silent { Err("connection refused".to_owned()) } else { Ok(served) };
            Seen { served, sent: Ok(sent) }
        });
        Reading { at, clusters: clusters.collect() }
    }
}

fn rules() -> ShiftRules {
    let confirm_within = Duration::from_secs(3);
    ShiftRules { confirm_within, bake: Duration::from_secs(1), ..ShiftRules::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_full_shift_is_observed_only_when_the_counters_really_show_it(
        ticks in prop::collection::vec([tick(), tick()], 60),
    ) {
        let (rules, mut counters) = (rules(), Counters::default());
        let mut watching =
            Watching::new(&rules, &plan(100), &counters.reading(Duration::ZERO, None));
        let mut answered = 0;
        for (i, now) in ticks.iter().enumerate() {
            answered += now[1].requests;
            let at = rules.poll * (i as u32 + 1);
            match watching.step(&counters.reading(at, Some(*now))) {
                Step::Wait => {}
                Step::Observed(_) => {
                    prop_assert!(answered >= rules.min_requests);
                    prop_assert!(!now[1].silent);
                    prop_assert!(i >= 2, "the window is three readings");
                    for old in &ticks[i - 2..=i] {
                        prop_assert_eq!((old[0].requests, old[0].active), (0, 0));
                    }
                    break;
                }
                Step::Settled(_) => prop_assert!(false, "settled before it was observed"),
                Step::RollBack(_) => break,
                Step::Unconfirmed(reason) => {
                    prop_assert!(at >= rules.confirm_within);
                    prop_assert!(!reason.is_empty());
                    break;
                }
            }
            prop_assert!(at < rules.confirm_within, "it must end in time");
        }
    }

    #[test]
    fn a_share_far_from_the_wish_is_never_observed(
        wished in 10u32..=90,
        real in 0u64..=100,
        rate in 1u64..50,
    ) {
        if real.abs_diff(u64::from(wished)) <= 15 {
            return Ok(());
        }
        let (rules, mut counters) = (rules(), Counters::default());
        let mut watching =
            Watching::new(&rules, &plan(wished), &counters.reading(Duration::ZERO, None));
        let (mut sent, mut to_b) = (0u64, 0u64);
        for i in 1..=30 {
            sent += rate;
            let b = (sent * real).div_ceil(100) - to_b;
            to_b += b;
            let tick = |requests| Tick {
                requests,
                errors: 0,
                active: 0,
                restarts: false,
                silent: false,
            };
            let reading = counters.reading(rules.poll * i, Some([tick(rate.saturating_sub(b)), tick(b)]));
            prop_assert!(!matches!(watching.step(&reading), Step::Observed(_)));
        }
    }

    #[test]
    fn a_cluster_that_fails_more_than_the_bound_is_always_given_up(
        (requests, errors) in (1u64..30).prop_flat_map(|n| (Just(n), n / 10 + 1..=n)),
    ) {
        let (rules, mut counters) = (rules(), Counters::default());
        let mut watching =
            Watching::new(&rules, &plan(100), &counters.reading(Duration::ZERO, None));
        let quiet = Tick { requests: 0, errors: 0, active: 0, restarts: false, silent: false };
        let bad = Tick { requests, errors, ..quiet };
        let steps = (1..=30).map(|i| {
            watching.step(&counters.reading(rules.poll * i, Some([quiet, bad])))
        });
        let last = steps.take_while(|step| !matches!(step, Step::RollBack(_)));
        prop_assert!(last.filter(|step| *step != Step::Wait).count() == 0);
    }
}

#[test]
fn growth_is_counted_over_restarts_and_never_shrinks() {
    let mut meter = Meter::default();
    let served = |requests, errors| Served { requests, errors };
    assert_eq!(meter.read(served(100.0, 10.0)), 0.0);
    assert_eq!(meter.read(served(150.0, 12.0)), 50.0);
    assert_eq!(meter.read(served(30.0, 3.0)), 30.0);
    assert_eq!((meter.requests, meter.errors), (80.0, 5.0));
}

#[test]
fn the_requests_needed_for_a_share_follow_the_binomial_distribution() {
    let rules = ShiftRules::default();
    assert_eq!(rules.requests_for_share(0.5), 100.0);
    assert_eq!(rules.requests_for_share(0.1), 36.0);
    assert_eq!(rules.requests_for_share(1.0), 0.0);
}

#[test]
fn counters_that_are_no_counts_are_no_evidence() {
    let seen = Seen {
        served: Ok(Served { requests: f64::NAN, errors: 0.0 }),
        sent: Err("unreachable".to_owned()),
    };
    let reading = Reading { at: Duration::from_secs(60), clusters: vec![seen.clone(), seen] };
    let mut watching = Watching::new(&rules(), &plan(100), &reading);
    assert_eq!(
        watching.step(&reading),
        Step::Unconfirmed(
            "the mesh does not say what it sends to cluster-a: unreachable; \
             no evidence of cluster-b: its counters are no counts"
                .to_owned()
        )
    );
}
