//! What a person may do, by the suite of the testkit: with traffic under control, and without.

use hms_ops::core::control::Control;
use hms_ops::core::ledger::Ledger;
use hms_ops::core::registry::Registry;
use hms_ops::prelude::*;
use hms_ops_testkit::control::ControlUnderTest;
use hms_ops_testkit::control_suite;

mod without_traffic {
    use super::*;

    control_suite!(Running(builder().start().await.unwrap()));
}

mod with_a_mesh {
    use super::*;

    control_suite!({
        let router = Router::builder("eligibility-svc").cluster("cluster-a", "http://127.0.0.1:1");
        Running(builder().mesh(router.build().unwrap()).start().await.unwrap())
    });
}

struct Running(Ops);

fn builder() -> hms_ops::OpsBuilder {
    Ops::builder().registry(Registry::new())
}

impl ControlUnderTest for Running {
    fn control(&self) -> &dyn Control {
        self.0.control()
    }

    fn ledger(&self) -> &dyn Ledger {
        self.0.ledger()
    }
}
