use hms_ops_core::alert::{EventBatch, EventDelta};
use hms_ops_core::store::{MemoryStore, SelectHint, Store, StoreExt};
use hms_ops_core::time::TimeRange;

use super::*;
use crate::slo::Period;
use crate::slo::SloBuilder;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn requests(objective: &str) -> SloBuilder {
    Slo::new("requests")
        .service("svc")
        .bad_ratio("errors_total", "requests_total")
        .objective(objective)
}

fn rule(slo: SloBuilder) -> SloRule {
    SloRule::new(slo.build().unwrap())
}

fn batch(last_report: i64, deltas: &[(i64, f64, f64)]) -> EventBatch {
    let delta = |&(t, count, sum): &(i64, f64, f64)| EventDelta { at: at(t), count, sum };
    EventBatch {
        source: Labels::from_pairs([(SERVICE, "svc"), ("cluster", "a")]),
        interval: SECOND,
        last_report: at(last_report),
        deltas: deltas.iter().map(delta).collect(),
    }
}

fn verdicts(rule: &mut SloRule, now: i64, batches: Vec<EventBatch>) -> Vec<Verdict> {
    let mut out = Vec::new();
    let inputs = [InputData::Events(batches)];
    rule.evaluate(&TickContext { at: at(now), inputs: &inputs }, &mut out);
    out
}

/// So many events a second, of which this part is bad, in steps of `step` seconds; the verdicts at the end.
fn play(
    rule: &mut SloRule,
    times: std::ops::Range<i64>,
    step: i64,
    per_second: f64,
    bad: f64,
) -> Vec<Verdict> {
    let mut last = Vec::new();
    for t in times.step_by(step as usize) {
        let total = per_second * step as f64;
        last = verdicts(rule, t, vec![batch(t, &[(t, total, total * bad)])]);
    }
    last
}

fn conditions(verdicts: &[Verdict]) -> Vec<(&str, &Condition)> {
    verdicts.iter().map(|v| (v.labels.get(SEVERITY).unwrap(), &v.condition)).collect()
}

const OK: Condition = Condition::Ok;
const BREACH: Condition = Condition::Breach;

#[test]
fn half_a_second_of_outage_trips_the_hour_at_five_nines() {
    for (outage_ms, fires) in [(510.0, false), (530.0, true)] {
        let mut rule = rule(requests("99.999"));
        play(&mut rule, 0..DAY * 3, 60, 1000.0, 0.0);
        let now = DAY * 3;
        let bad = batch(now, &[(now, 60_000.0, outage_ms)]);
        // 0.52 s; the ring may leave out a sixtieth of the hour, and the guard wants a little more.
        let page = verdicts(&mut rule, now, vec![bad]).remove(0);
        let burn = page.value.unwrap();
        assert!((burn / 14.4 - outage_ms / 518.4).abs() < 0.02, "{burn}");
        assert_eq!(burn > 14.4, fires, "{burn}");
    }
}

#[test]
fn each_row_of_the_workbook_fires_above_its_burn_rate_and_not_below() {
    for (burn, page, ticket) in [
        (15.0, BREACH, BREACH),
        (14.0, BREACH, BREACH),
        (5.5, OK, BREACH),
        (2.5, OK, BREACH),
        (0.9, OK, OK),
    ] {
        let mut rule = rule(requests("99.9"));
        let last = play(&mut rule, 0..4 * DAY, 60, 1000.0, burn * 0.001);
        assert_eq!(conditions(&last), [("page", &page), ("ticket", &ticket)], "{burn}");
    }
}

#[test]
fn a_fast_burn_pages_within_minutes_and_is_over_when_the_short_window_is() {
    let mut rule = rule(requests("99.9"));
    play(&mut rule, 0..DAY * 3, 60, 100.0, 0.0);
    let begins = DAY * 3;
    // A full outage spends 14.4 times the budget of an hour in 52 s.
    let page = |rule: &mut SloRule, t: i64, bad: f64| {
        verdicts(rule, t, vec![batch(t, &[(t, 100.0, 100.0 * bad)])]).remove(0).condition
    };
    let fired = (begins..begins + 600).find(|t| page(&mut rule, *t, 1.0) == BREACH).unwrap();
    assert!((50..=53).contains(&(fired - begins)), "{}", fired - begins);
    // The windows of five minutes and of half an hour both have to be good again.
    let healed = fired + 1;
    let over = (healed..healed + 4000).find(|t| page(&mut rule, *t, 0.0) == OK).unwrap();
    assert!(over - healed > 200 && over - healed <= 1800, "{}", over - healed);
}

#[test]
fn one_bad_event_wakes_nobody_where_traffic_is_low() {
    // One request in ten seconds: by the threshold alone, one bad one of 360 would be 277 times too many.
    let mut rule = rule(requests("99.999"));
    play(&mut rule, 0..DAY, 10, 0.1, 0.0);
    let one = verdicts(&mut rule, DAY, vec![batch(DAY, &[(DAY, 1.0, 1.0)])]);
    assert_eq!(conditions(&one)[0], ("page", &OK));
    let two = verdicts(&mut rule, DAY + 10, vec![batch(DAY + 10, &[(DAY + 10, 1.0, 1.0)])]);
    assert_eq!(conditions(&two)[0], ("page", &BREACH));
}

#[test]
fn the_budget_is_spent_by_events_and_not_by_the_mean_of_ratios() {
    let mut rule = rule(requests("99.9"));
    // A busy day with few errors, and a quiet one with many.
    play(&mut rule, 0..DAY, 60, 1000.0, 0.0005);
    play(&mut rule, DAY..2 * DAY, 60, 1.0, 0.1);
    let status = rule.view().status().remove(0);
    let (total, bad) = (86_400.0 * 1001.0, 86_400.0 * (0.5 + 0.1));
    assert!((status.total as f64 - total).abs() < 2.0 && (status.bad as f64 - bad).abs() < 2.0);
    assert!((status.budget_left - (1.0 - bad / (total * 0.001))).abs() < 1e-6, "{status:?}");
    assert!(!status.low_traffic);
}

#[test]
fn the_end_of_the_budget_is_foretold_from_the_first_window() {
    let mut rule = rule(requests("99.9"));
    play(&mut rule, 0..2 * HOUR, 60, 100.0, 0.01);
    let status = rule.view().status().remove(0);
    assert!((status.burns[0].long.burn.unwrap() - 10.0).abs() < 0.1, "{status:?}");
    // At ten times too many from the start, nothing is left.
    assert!((status.budget_left + 9.0).abs() < 0.1, "{status:?}");
    assert_eq!(status.exhausted_at, Some(at(2 * HOUR - 60)));
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(
        (&json["period"]["rolling"], &json["burns"][0]["long"]["length"]),
        (&2_592_000.into(), &3600.into())
    );
    assert_eq!((&json["slo"], &json["burns"][0]["severity"]), (&"requests".into(), &"page".into()));

    let mut rule = self::rule(requests("99.9"));
    play(&mut rule, 0..29 * DAY, 600, 100.0, 0.0);
    play(&mut rule, 29 * DAY..29 * DAY + 2 * HOUR, 60, 100.0, 0.003);
    let status = rule.view().status().remove(0);
    let left = status.exhausted_at.unwrap().since(at(29 * DAY + 2 * HOUR)).as_secs() / DAY as u64;
    assert_eq!(left, 9, "of {:.3}", status.budget_left);
}

#[test]
fn silence_is_no_data_and_keeps_what_the_windows_know() {
    let mut rule = rule(requests("99.9"));
    play(&mut rule, 0..HOUR, 1, 100.0, 1.0);
    let silent = verdicts(&mut rule, HOUR + 10, vec![batch(HOUR - 1, &[])]);
    assert_eq!(silent[0].condition, Condition::NoData);
    let back = verdicts(&mut rule, HOUR + 11, vec![batch(HOUR + 11, &[(HOUR + 11, 1.0, 1.0)])]);
    assert_eq!(back[0].condition, BREACH);
}

#[test]
fn an_outage_that_ends_all_traffic_is_not_over() {
    let mut rule = rule(requests("99.9"));
    play(&mut rule, 0..HOUR, 1, 100.0, 1.0);
    // It reports, and nothing happens: nobody can know whether it is well again.
    let idle = verdicts(&mut rule, HOUR + 2000, vec![batch(HOUR + 2000, &[])]);
    assert_eq!(idle[0].condition, Condition::Idle);
}

#[test]
fn a_configured_service_that_never_reported_has_no_data_after_a_while() {
    let mut rule = rule(requests("99.9"));
    assert_eq!(verdicts(&mut rule, 5, vec![])[0].condition, Condition::Idle);
    assert_eq!(verdicts(&mut rule, 5 + 46, vec![])[0].summary, "no source has ever reported");
}

#[test]
fn series_that_cannot_be_judged_are_an_error_and_not_an_outage() {
    let mut rule = rule(Slo::new("fast").latency("work.ms", 500.0).objective("99.9"));
    let inputs = [InputData::Unusable("work_ms has no bucket edge at 500".to_owned())];
    let mut out = Vec::new();
    rule.evaluate(&TickContext { at: at(1), inputs: &inputs }, &mut out);
    let why = "work_ms has no bucket edge at 500".to_owned();
    assert_eq!((out.len(), &out[0].condition), (2, &Condition::Error(why)));
}

#[test]
fn latency_counts_what_no_bucket_at_the_limit_has() {
    let mut rule = rule(Slo::new("fast").latency("work.ms", 500.0).objective("99.9"));
    let RuleInput::Counts { total, part, .. } = &rule.spec().inputs[0] else { panic!() };
    let bucket = |le| Labels::metric("work_ms_bucket").with("le", le);
    assert!(Matcher::all(total, &Labels::metric("work_ms_count")));
    for le in ["500", "500.0", "5e2", "5e+02"] {
        assert!(Matcher::all(part, &bucket(le)), "{le}");
    }
    assert!(!Matcher::all(part, &bucket("5000")) && !Matcher::all(part, &bucket("+Inf")));
    // Of 1000 events, 900 were at or below it.
    let v = verdicts(&mut rule, 100, vec![batch(100, &[(100, 1000.0, 900.0)])]);
    assert_eq!((v[0].value.unwrap().round(), &v[0].condition), (100.0, &BREACH));
    let status = rule.view().status().remove(0);
    assert_eq!((status.total, status.bad), (1000, 100));
}

#[test]
fn slices_count_time_and_not_events() {
    let slices = requests("99").slices(Duration::from_secs(60), "95");
    let mut rule = rule(slices.burn(
        Severity::Page,
        Duration::from_secs(3600),
        Duration::from_secs(300),
        "14.4",
    ));
    // Ten good minutes; one with 6 % of bad events among many; one with 4 %.
    play(&mut rule, 0..600, 1, 10.0, 0.0);
    play(&mut rule, 600..660, 1, 1000.0, 0.06);
    play(&mut rule, 660..720, 1, 10.0, 0.04);
    play(&mut rule, 720..800, 1, 10.0, 0.0);
    let status = rule.view().status().remove(0);
    assert_eq!((status.total, status.bad), (13, 1));
}

#[test]
fn a_calendar_budget_is_whole_again_on_the_first() {
    let mut rule = rule(requests("99.9").period(Period::Month));
    let first: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
    let first = first.as_millis() / 1000;
    play(&mut rule, first - HOUR..first, 1, 100.0, 0.01);
    assert!(rule.view().status().remove(0).budget_left < -8.0);
    let last = play(&mut rule, first..first + 60, 1, 100.0, 0.0);
    assert_eq!(rule.view().status().remove(0).budget_left, 1.0);
    // What burns, burns on over midnight.
    assert_eq!(conditions(&last)[1].0, "ticket");
    assert_eq!(conditions(&last)[1].1, &BREACH);
}

#[tokio::test]
async fn a_restart_with_its_history_says_what_a_long_life_says() {
    for slo in [
        requests("99.9"),
        requests("99.9").period(Period::Week),
        requests("99.9").slices(SECOND * 60, "99.9"),
    ] {
        let store = MemoryStore::with_limits(10, 10_000);
        let (mut lived, mut warmed) = (rule(slo.clone()), rule(slo));
        let (mut total, mut bad) = (0.0, 0.0);
        let source = [(SERVICE, "svc"), ("cluster", "a")];
        let name = |name| Labels::from_pairs(source.into_iter().chain([(NAME, name)]));
        let (requests, errors) = (name("requests_total"), name("errors_total"));
        let end = 5 * DAY;
        for t in (0..end).step_by(60) {
            // It restarts each day, and fails for an hour of each day; its first error makes a series.
            if t % DAY == 0 {
                (total, bad) = (0.0, 0.0);
            }
            let failed = if t % DAY > 23 * HOUR { 3.0 } else { 0.0 };
            (total, bad) = (total + 600.0, bad + failed);
            store.append_one(&requests, at(t), total).await.unwrap();
            if t > 23 * HOUR {
                store.append_one(&errors, at(t), bad).await.unwrap();
            }
            let first = if t == 0 { vec![] } else { vec![(t, 600.0, failed)] };
            verdicts(&mut lived, t, vec![batch(t, &first)]);
        }
        let RuleInput::Counts { total, part, .. } = warmed.spec().inputs[0].clone() else {
            panic!()
        };
        // Day by day, as a long history is read.
        for day in 0..5 {
            let range = TimeRange::new(at(day * DAY), at((day + 1) * DAY - 1));
            for matchers in [&part, &total] {
                let set = store.select(matchers, range, &SelectHint::default()).await;
                warmed.warm_up(0, &mut *set.unwrap()).unwrap();
            }
        }
        let next = || vec![batch(end, &[(end, 600.0, 3.0)])];
        assert_eq!(verdicts(&mut lived, end, next()), verdicts(&mut warmed, end, next()));
        assert_eq!(lived.view().status(), warmed.view().status());
        assert!(lived.view().status().remove(0).bad > 0);
    }
}

#[tokio::test]
async fn history_from_before_the_edge_was_there_is_not_bad() {
    let store = MemoryStore::with_limits(10, 10_000);
    let series = |name: &str, le: &str| Labels::metric(name).with(SERVICE, "svc").with("le", le);
    for t in 0..20 {
        let total = 100.0 * t as f64;
        store.append_one(&series("work_ms_count", ""), at(t * 60), total).await.unwrap();
        if t >= 10 {
            store
                .append_one(&series("work_ms_bucket", "500"), at(t * 60), total - 7.0)
                .await
                .unwrap();
        }
    }
    let mut rule = rule(Slo::new("fast").latency("work.ms", 500.0).objective("99.9"));
    let RuleInput::Counts { total, part, .. } = rule.spec().inputs[0].clone() else { panic!() };
    for piece in [0..300, 301..900, 901..1200] {
        let range = TimeRange::new(at(piece.start), at(piece.end));
        for matchers in [&part, &total] {
            let set = store.select(matchers, range, &SelectHint::default()).await;
            rule.warm_up(0, &mut *set.unwrap()).unwrap();
        }
    }
    verdicts(&mut rule, 1200, vec![batch(1200, &[])]);
    let status = rule.view().status().remove(0);
    assert_eq!((status.total, status.bad), (900, 0));
}
