//! Loss of power, at any moment and with any part of what was not synced.

use hms_ops_testkit::block_on;
use hms_ops_testkit::fault_disk::Fault;
use hms_ops_tsdb::Durability;

use crate::world::{Random, World, count};

fn seeds() -> u64 {
    count("HMS_OPS_TORTURE_SEEDS", 500)
}

#[test]
fn nothing_acknowledged_is_lost_with_the_power() {
    for seed in 0..seeds() {
        eprintln!("seed {seed}");
        block_on(async {
            let mut random = Random(seed);
            let mut world = World::new(Durability::EachCommit);
            for _ in 0..2 {
                for _ in 0..random.below(30) {
                    world.step(&mut random).await.unwrap();
                }
                world.crash(random.below(u64::MAX));
                world.check().await;
            }
        });
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_goes_in_the_middle_of_a_call() {
    for seed in 0..seeds() {
        eprintln!("seed {seed}");
        block_on(async {
            let mut random = Random(seed);
            let mut world = World::new(Durability::EachCommit);
            for _ in 0..2 {
                for _ in 0..random.below(20) {
                    world.step(&mut random).await.unwrap();
                }
                // From some call on nothing reaches the disk: as if the power had gone there.
                world.disk.fail_from(1 + random.below(40), Fault::Io);
                for _ in 0..4 {
                    if world.store.is_some() {
                        let _ = world.step(&mut random).await;
                    }
                }
                world.crash(random.below(u64::MAX));
                world.check().await;
            }
        });
    }
}

#[test]
fn without_a_sync_for_each_commit_only_what_came_after_the_last_sync_is_lost() {
    for seed in 0..seeds() / 5 {
        eprintln!("seed {seed}");
        block_on(async {
            let mut random = Random(seed);
            let mut world = World::new(Durability::OperatingSystem);
            for _ in 0..random.below(20) {
                world.step(&mut random).await.unwrap();
            }
            // A seal writes down all there is.
            world.store.as_ref().unwrap().seal().unwrap();
            let promised = world.acknowledged.clone();
            for _ in 0..random.below(10) {
                let _ = world.batch(&mut random).await;
            }
            world.crash(random.below(u64::MAX));
            let read = world.read().await;
            for (of, value) in &promised {
                assert_eq!(read.get(of), Some(value), "synced: {of:?}");
            }
            world.check_nothing_invented(&read);
        });
    }
}
