//! Shifts from the claim to the end, in paused time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hms_ops_core::ledger::Event;
use hms_ops_core::mesh::{
    Health, MeshController, MeshError, Served, ShiftReport, ShiftRequest, ShiftState,
    TrafficControl,
};
use hms_ops_core::name::Service;
use hms_ops_mesh::ShiftRules;
use tokio::time::sleep;

mod world;

use world::{Lab, cluster, service, sick, split, wish};

#[tokio::test(start_paused = true)]
async fn a_shift_is_accepted_applied_observed_and_settled() {
    let lab = Lab::new().await;
    let report = lab.shift(wish("cluster-b", "k")).await;
    let ShiftState::Observed { evidence } = &report.state else { panic!("{report:?}") };
    assert!(evidence.starts_with("cluster-a answered none for 300ms; cluster-b answered "));
    assert!(evidence.ends_with(" requests, 0 of them failed"), "{evidence}");
    assert_eq!((report.from, report.to), (split(100, 0), split(0, 100)));
    let ShiftState::Settled { evidence } = lab.reaches("k", "settled").await else { panic!() };
    assert!(evidence.starts_with("in a bake of 2s, cluster-b answered "), "{evidence}");
    assert_eq!(lab.words("k").await, ["accepted", "applied", "observed", "settled"]);
    assert_eq!(lab.world.split().await, split(0, 100));
}

#[tokio::test(start_paused = true)]
async fn a_share_is_observed_by_how_the_clusters_answer() {
    let lab = Lab::new().await;
    let report = lab.shift(ShiftRequest { percent: 30, ..wish("cluster-b", "k") }).await;
    let ShiftState::Observed { evidence } = &report.state else { panic!("{report:?}") };
    assert!(evidence.contains("of all, 70 % wished; cluster-b answered "), "{evidence}");
    assert_eq!(lab.world.split().await, split(70, 30));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_drained_by_a_share_of_nothing() {
    let lab = Lab::new().await;
    let report = lab.shift(ShiftRequest { percent: 0, ..wish("cluster-a", "k") }).await;
    assert_eq!((report.state.word(), report.to), ("observed", split(0, 100)));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_not_known_to_be_healthy_gets_no_traffic() {
    let lab = Lab::new().await;
    for (key, health, reason) in [
        ("sick", sick("answered 503"), "cluster-b is unhealthy: answered 503"),
        ("unknown", Health::Unknown, "the health of cluster-b is unknown: no check of late"),
    ] {
        lab.told(|world| world.health.insert(cluster("cluster-b"), health));
        let report = lab.shift(wish("cluster-b", key)).await;
        assert_eq!(report.state, ShiftState::Refused { reason: reason.to_owned() });
        assert_eq!(lab.words(key).await, ["refused"]);
        let drained = ShiftRequest { percent: 0, ..wish("cluster-a", &format!("{key} drain")) };
        let report = lab.shift(drained).await;
        assert_eq!(report.state.detail(), reason, "draining would send it there, too");
    }
    assert_eq!(lab.world.applies.load(Ordering::SeqCst), 0);
    assert_eq!(lab.world.split().await, split(100, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_makes_no_sense_is_refused_and_in_the_ledger() {
    let lab = Lab::new().await;
    for (request, reason) in [
        (wish("cluster-z", "1"), "unknown cluster cluster-z of svc"),
        (
            ShiftRequest { percent: 101, ..wish("cluster-b", "2") },
            "101 % is not a share of traffic",
        ),
        (
            ShiftRequest { service: Service::new("nobody"), ..wish("cluster-b", "3") },
            "unknown service nobody",
        ),
    ] {
        let key = request.key.clone();
        let report = lab.shift(request).await;
        assert_eq!(report.state, ShiftState::Refused { reason: reason.to_owned() });
        assert_eq!(lab.states(&key).await, [report.state]);
    }
    assert_eq!(lab.world.applies.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shift_to_where_traffic_is_already_changes_nothing_and_says_so() {
    let lab = Lab::new().await;
    let report = lab.shift(wish("cluster-a", "k")).await;
    let evidence = "already there: nothing was changed, no traffic was measured".to_owned();
    assert_eq!(report.state, ShiftState::Settled { evidence });
    assert_eq!(lab.world.applies.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shift_that_no_counter_shows_is_unconfirmed_and_says_what_is_missing() {
    let lab = Lab::new().await;
    lab.told(|world| world.idle = true);
    let report = lab.shift(wish("cluster-b", "idle")).await;
    assert_eq!(report.state.word(), "unconfirmed");
    assert_eq!(report.state.detail(), "cluster-b served 0 of 20 requests needed");
    assert_eq!(lab.world.split().await, split(0, 100));

    lab.told(|world| {
        world.idle = false;
        world.silent.insert(cluster("cluster-a"));
    });
    let report = lab.shift(wish("cluster-a", "silent")).await;
    assert_eq!(report.state.word(), "unconfirmed");
    assert_eq!(report.state.detail(), "no evidence of cluster-a: connection refused");
}

#[tokio::test(start_paused = true)]
async fn a_shift_is_unconfirmed_while_the_old_cluster_still_answers() {
    let lab = Lab::new().await;
    lab.told(|world| world.strays.insert(cluster("cluster-a")));
    let report = lab.shift(wish("cluster-b", "k")).await;
    assert_eq!(report.state.word(), "unconfirmed");
    let said = report.state.detail();
    assert!(said.starts_with("cluster-a still answers: "), "{said}");
    assert!(said.ends_with(" requests in the last window"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_shift_is_observed_only_after_the_old_cluster_has_answered_what_it_had() {
    let lab = Lab::new().await;
    let slow = lab.world.router.begin();
    let shift = lab.shift(wish("cluster-b", "k"));
    tokio::pin!(shift);
    tokio::select! {
        report = &mut shift => panic!("too early: {report:?}"),
        () = sleep(Duration::from_secs(5)) => {}
    }
    drop(slow);
    assert_eq!(shift.await.state.word(), "observed");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_ends_leaves_a_shift_unconfirmed() {
    let lab = Lab::new().await;
    let _stream = lab.world.router.begin();
    let report = lab.shift(wish("cluster-b", "k")).await;
    assert_eq!(report.state.detail(), "cluster-a still has requests under way: 1");
}

#[tokio::test(start_paused = true)]
async fn traffic_leaves_a_cluster_that_is_dead_and_cannot_be_asked() {
    let lab = Lab::new().await;
    lab.told(|world| {
        world.silent.insert(cluster("cluster-a"));
        world.health.insert(cluster("cluster-a"), sick("cannot connect"));
    });
    let report = lab.shift(wish("cluster-b", "k")).await;
    assert_eq!(report.state.word(), "observed");
    let said = "cluster-a cannot be asked (connection refused) and was sent none for 300ms; ";
    assert!(report.state.detail().starts_with(said), "{:?}", report.state);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_restarts_in_between_is_still_counted() {
    let lab = Lab::new().await;
    let before = Served { requests: 1e6, errors: 5e5 };
    lab.told(|world| world.served.insert(cluster("cluster-b"), before));
    let shift = lab.shift(wish("cluster-b", "k"));
    tokio::pin!(shift);
    tokio::select! {
        report = &mut shift => panic!("too early: {report:?}"),
        () = sleep(Duration::from_millis(120)) => {}
    }
    lab.told(|world| world.served.remove(&cluster("cluster-b")));
    assert_eq!(shift.await.state.word(), "observed");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_fails_too_often_loses_the_traffic_again() {
    let lab = Lab::new().await;
    lab.told(|world| world.failing.insert(cluster("cluster-b")));
    let report = lab.shift(wish("cluster-b", "k")).await;
    assert_eq!(report.state.word(), "rolled back");
    let said = report.state.detail();
    assert!(said.starts_with("cluster-b failed 2"), "{said}");
    assert_eq!(lab.words("k").await, ["accepted", "applied", "rolled back"]);
    assert_eq!(lab.world.split().await, split(100, 0));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_died_at_once_loses_the_traffic_by_what_the_mesh_counts() {
    let lab = Lab::new().await;
    lab.told(|world| {
        world.failing.insert(cluster("cluster-b"));
        world.silent.insert(cluster("cluster-b"));
    });
    let report = lab.shift(wish("cluster-b", "k")).await;
    assert_eq!(report.state.word(), "rolled back");
    let said = report.state.detail();
    assert!(said.ends_with(" requests sent to cluster-b failed"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn traffic_does_not_go_back_to_a_cluster_that_is_known_to_be_unhealthy() {
    let lab = Lab::new().await;
    lab.told(|world| {
        world.failing.insert(cluster("cluster-b"));
        world.health.insert(cluster("cluster-a"), sick("answered 500"));
    });
    let report = lab.shift(wish("cluster-b", "k")).await;
    assert_eq!(report.state.word(), "unconfirmed");
    let said = report.state.detail();
    assert!(said.ends_with("; the split stays, as cluster-a is unhealthy: answered 500"), "{said}");
    assert_eq!(lab.world.split().await, split(0, 100));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_fails_in_its_bake_loses_the_traffic_again() {
    let lab = Lab::new().await;
    assert_eq!(lab.shift(wish("cluster-b", "k")).await.state.word(), "observed");
    lab.told(|world| world.failing.insert(cluster("cluster-b")));
    lab.reaches("k", "rolled back").await;
    assert_eq!(lab.words("k").await, ["accepted", "applied", "observed", "rolled back"]);
    assert_eq!(lab.world.split().await, split(100, 0));
}

#[tokio::test(start_paused = true)]
async fn a_split_that_somebody_has_changed_since_is_not_overwritten() {
    let lab = Lab::new().await;
    lab.shift(wish("cluster-b", "k")).await;
    let hand = ShiftRequest { percent: 60, ..wish("cluster-b", "by hand") };
    let plan = lab.world.router.plan(&hand).await.unwrap();
    let fence = lab.journal().await.fence();
    lab.world.router.apply(&plan, &fence).await.unwrap();
    lab.told(|world| world.failing.insert(cluster("cluster-b")));
    let state = lab.reaches("k", "unconfirmed").await;
    assert!(state.detail().ends_with("the split stays, as somebody has changed it since"));
    assert_eq!(lab.world.split().await, split(40, 60));
}

#[tokio::test(start_paused = true)]
async fn the_same_key_gives_the_same_end_and_has_no_second_effect() {
    let mut lab = Lab::new().await;
    let first = lab.shift(wish("cluster-b", "k")).await;
    assert_eq!(lab.shift(wish("cluster-b", "k")).await, first);
    lab.reaches("k", "settled").await;
    lab.shift(wish("cluster-a", "back")).await;
    assert_eq!(lab.shift(wish("cluster-b", "k")).await.state.word(), "settled");
    lab.engine.shutdown().await;
    lab.restart().await;
    assert_eq!(lab.shift(wish("cluster-b", "k")).await.state.word(), "settled");
    assert_eq!(lab.world.applies.load(Ordering::SeqCst), 2);
    assert_eq!(lab.world.split().await, split(100, 0));
}

#[tokio::test(start_paused = true)]
async fn who_asks_with_the_same_key_meanwhile_gets_the_same_report() {
    let lab = Lab::new().await;
    let (one, two) =
        tokio::join!(lab.shift(wish("cluster-b", "k")), lab.shift(wish("cluster-b", "k")));
    assert_eq!(one.state.word(), "observed");
    assert_eq!(one, two);
    assert_eq!(lab.world.applies.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_service_is_shifted_once_at_a_time() {
    let lab = Lab::new().await;
    let (one, two) =
        tokio::join!(lab.shift(wish("cluster-b", "one")), lab.shift(wish("cluster-b", "two")));
    assert_eq!(one.state.word(), "observed");
    let reason = "shift \"one\" of svc is under way".to_owned();
    assert_eq!(two.state, ShiftState::Refused { reason });
    let three = lab.shift(wish("cluster-a", "three")).await;
    assert_eq!(three.state.detail(), "shift \"one\" of svc is in its bake");
    lab.reaches("one", "settled").await;
    assert_eq!(lab.shift(wish("cluster-a", "four")).await.state.word(), "observed");
}

#[tokio::test(start_paused = true)]
async fn a_service_rests_for_its_cool_down_also_over_a_restart() {
    let cool_down = Duration::from_secs(60);
    let mut lab = Lab::with(ShiftRules { cool_down, ..ShiftRules::default() }).await;
    lab.shift(wish("cluster-b", "one")).await;
    lab.reaches("one", "settled").await;
    lab.restart().await;
    let refused = lab.shift(wish("cluster-a", "two")).await;
    assert_eq!(refused.state.word(), "refused");
    let said = refused.state.detail();
    assert!(said.ends_with(" ago, the cool-down is 60s"), "{said}");
    sleep(cool_down).await;
    assert_eq!(lab.shift(wish("cluster-a", "three")).await.state.word(), "observed");
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_planned_again_once_and_then_refused() {
    let lab = Lab::new().await;
    lab.told(|world| world.rivals = 2);
    let report = lab.shift(wish("cluster-b", "once")).await;
    assert_eq!((report.state.word(), report.from), ("observed", split(90, 10)));
    lab.reaches("once", "settled").await;
    lab.told(|world| world.rivals = 10);
    let report = lab.shift(wish("cluster-a", "often")).await;
    assert_eq!(report.state.word(), "refused");
    assert!(report.state.detail().starts_with("the split of svc is at revision"));
}

#[tokio::test(start_paused = true)]
async fn a_mesh_that_fails_after_it_applied_is_asked_again() {
    let lab = Lab::new().await;
    lab.told(|world| world.broken = 1);
    assert_eq!(lab.shift(wish("cluster-b", "once")).await.state.word(), "observed");
    lab.reaches("once", "settled").await;
    lab.told(|world| world.broken = 2);
    let report = lab.shift(wish("cluster-a", "twice")).await;
    let reason = "whether the mesh has the new split is not known: connection reset".to_owned();
    assert_eq!(report.state, ShiftState::Unconfirmed { reason });
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_does_not_stop_its_shift() {
    let lab = Lab::new().await;
    tokio::select! {
        biased;
        _ = lab.shift(wish("cluster-b", "k")) => panic!("too early"),
        () = sleep(Duration::from_millis(1)) => {}
    }
    lab.reaches("k", "settled").await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_gives_a_shift_its_end_in_the_ledger() {
    let mut lab = Lab::new().await;
    lab.shift(wish("cluster-b", "k")).await;
    lab.engine.shutdown().await;
    let last = lab.states("k").await.pop().unwrap();
    assert_eq!(last.word(), "unconfirmed");
    assert_eq!(
        last.detail(),
        "the counters have shown it, but the engine was shut down before the bake was over"
    );
    assert!(matches!(
        lab.engine.shift(wish("cluster-a", "late")).await,
        Err(MeshError::Backend(_))
    ));
    lab.restart().await;
    assert_eq!(lab.shift(wish("cluster-b", "k")).await.state, last);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_died_in_a_shift_is_followed_by_one_that_gives_it_an_end() {
    let lab = Lab::new().await;
    let journal = lab.journal().await;
    let report =
        |state| ShiftReport { service: service(), from: split(100, 0), to: split(0, 100), state };
    for (key, reached) in [
        ("planned", None),
        ("accepted", Some(ShiftState::Accepted)),
        ("ended", Some(ShiftState::RolledBack { reason: "errors".to_owned() })),
    ] {
        let request = wish("cluster-b", key);
        let planned = Event::ShiftPlanned { shift: key.to_owned(), request };
        journal.write("engine", planned).await.unwrap();
        if let Some(state) = reached {
            let reached = Event::ShiftReached { shift: key.to_owned(), report: report(state) };
            journal.write("engine", reached).await.unwrap();
        }
    }
    let before = lab.shift(wish("cluster-b", "accepted")).await;
    assert_eq!(before.state.word(), "unconfirmed", "nothing is done again");
    lab.engine.recover().await.unwrap();
    lab.engine.recover().await.unwrap();
    let ends = [
        ("planned", "the engine stopped when the shift was planned; nothing was changed"),
        (
            "accepted",
            "the engine stopped when the shift was accepted; the mesh has the split from before",
        ),
        ("ended", "errors"),
    ];
    for (key, detail) in ends {
        assert_eq!(lab.states(key).await.last().unwrap().detail(), detail);
    }
    assert_eq!(lab.states("accepted").await.len(), 2, "one end is enough");
    assert_eq!(lab.world.applies.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn an_engine_whose_lease_is_lost_changes_nothing() {
    let lab = Lab::new().await;
    sleep(Duration::from_secs(121)).await;
    let other = lab.ledger.lease("other", Duration::from_secs(60)).await.unwrap();
    assert!(other.is_some());
    let error = lab.engine.shift(wish("cluster-b", "k")).await.unwrap_err();
    assert!(matches!(error, MeshError::Backend(_)), "{error}");
    assert_eq!(lab.world.applies.load(Ordering::SeqCst), 0);
}
