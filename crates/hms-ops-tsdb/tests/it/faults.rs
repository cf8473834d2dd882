//! A disk that fails: at any call, or until there is room again.

use hms_ops_core::store::Store;
use hms_ops_testkit::block_on;
use hms_ops_testkit::fault_disk::Fault;
use hms_ops_tsdb::Durability;

use crate::world::{Random, World};

/// The same history each time, with one call that fails; says how many calls there were.
fn play(failing: Option<(u64, Fault)>) -> u64 {
    block_on(async {
        let mut random = Random(7);
        let mut world = World::new(Durability::EachCommit);
        let before = world.disk.calls();
        if let Some((n, fault)) = failing {
            world.disk.fail_at(n, fault);
        }
        for step in 0..40 {
            let store = world.store.as_ref().unwrap();
            // What fails is tried again later.
            match step % 20 {
                7 | 19 => drop(store.maintain()),
                13 => drop(store.seal()),
                16 => {
                    drop(store.close());
                    if world.open().is_err() {
                        world.disk.heal();
                        world.open().unwrap();
                    }
                }
                _ => drop(world.batch(&mut random).await),
            }
        }
        let calls = world.disk.calls() - before;
        world.disk.heal();
        world.check().await;
        world.store.as_ref().unwrap().maintain().unwrap();
        world.batch(&mut random).await.unwrap();
        world.store.as_ref().unwrap().ready().await.unwrap();
        world.check().await;
        world.open().unwrap();
        world.check().await;
        world.crash(1);
        world.check().await;
        calls
    })
}

#[test]
fn whichever_call_fails_nothing_acknowledged_is_lost_and_the_next_try_works() {
    let calls = play(None);
    assert!(calls > 100, "{calls}");
    for fault in [Fault::Io, Fault::Full, Fault::Short] {
        for n in 1..=calls {
            eprintln!("{fault:?} at call {n}");
            play(Some((n, fault)));
        }
    }
}

#[test]
fn a_full_disk_is_said_at_once_serves_reads_and_heals_when_there_is_room() {
    block_on(async {
        let mut random = Random(3);
        let mut world = World::new(Durability::EachCommit);
        for _ in 0..10 {
            world.batch(&mut random).await.unwrap();
        }
        world.disk.set_capacity(Some(0));
        let refused = world.batch(&mut random).await.unwrap_err();
        let store = world.store.as_ref().unwrap();
        let not_ready = store.ready().await.unwrap_err();
        assert!(refused.to_string().contains("cannot write"), "{refused}");
        assert!(not_ready.to_string().contains("cannot write"), "{not_ready}");
        world.check().await;

        world.disk.set_capacity(None);
        store.ready().await.unwrap();
        world.batch(&mut random).await.unwrap();
        world.check().await;
        world.crash(0);
        world.check().await;
    });
}
