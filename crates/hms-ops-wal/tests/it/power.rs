//! Loss of power.

use std::env;

use hms_ops_testkit::fault_disk::Fault;

use crate::history::{History, Op, Random};

/// How many histories; more of them with `HMS_OPS_TORTURE_SEEDS`.
fn seeds() -> u64 {
    env::var("HMS_OPS_TORTURE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(500)
}

#[test]
fn what_was_synced_survives_every_loss_of_power() {
    for seed in 0..seeds() {
        eprintln!("seed {seed}");
        let mut random = Random(seed);
        let mut history = History::new(200 + random.below(3000));
        for _ in 0..3 {
            for _ in 0..random.below(25) {
                history.run(Op::random(&mut random)).unwrap();
            }
            history.crash(random.below(u64::MAX));
        }
    }
}

#[test]
fn what_was_synced_survives_faults_and_then_a_loss_of_power() {
    for seed in 0..seeds() {
        eprintln!("seed {seed}");
        let mut random = Random(seed);
        let mut history = History::new(200 + random.below(3000));
        for _ in 0..3 {
            for _ in 0..random.below(25) {
                match random.below(10) {
                    0 => {
                        let fault =
                            [Fault::Io, Fault::Full, Fault::Short][random.below(3) as usize];
                        history.disk.fail_from(1 + random.below(10), fault);
                    }
                    1 | 2 => {
                        let fault =
                            [Fault::Io, Fault::Full, Fault::Short][random.below(3) as usize];
                        history.disk.fail_at(1 + random.below(5), fault);
                    }
                    3 | 4 => history.disk.heal(),
                    _ => {}
                }
                // It may fail; the history remembers what follows from that.
                let _ = history.run(Op::random(&mut random));
            }
            history.crash(random.below(u64::MAX));
        }
    }
}
