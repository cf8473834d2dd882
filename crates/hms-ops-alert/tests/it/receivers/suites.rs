//! The suite of the testkit, for every notifier that is not there by default.

use std::time::Duration;

use hms_ops_alert::notify::{
    AlertmanagerNotifier, NtfyNotifier, PagerDutyNotifier, SlackNotifier, Token,
};
use hms_ops_core::clock::{Clock, SystemClock};
use hms_ops_core::time::Timestamp;
use hms_ops_testkit::notifier_suite;

use crate::conformance::Hooked;

mod alertmanager_notifier {
    use super::*;

    notifier_suite!({
        let notifier = |endpoint| AlertmanagerNotifier::new("am", endpoint).unwrap();
        Hooked::start(notifier, |body| {
            // What is over is what has ended by now.
            let alerts: serde_json::Value = serde_json::from_str(body).unwrap();
            let ends_at: Timestamp = alerts[0]["endsAt"].as_str().unwrap().parse().unwrap();
            let over = SystemClock.now().since(ends_at) > Duration::ZERO;
            format!("{body} {}", if over { "resolved" } else { "" })
        })
        .await
    });
}

mod ntfy_notifier {
    use super::*;

    notifier_suite!({
        let notifier = |endpoint| NtfyNotifier::new("phone", endpoint).unwrap();
        Hooked::start(notifier, str::to_owned).await
    });
}

mod pagerduty_notifier {
    use super::*;

    notifier_suite!({
        let key = Token::new("hidden").unwrap();
        let notifier = |endpoint| PagerDutyNotifier::new("pager", endpoint, key);
        Hooked::start(notifier, str::to_owned).await
    });
}

mod slack_notifier {
    use super::*;

    notifier_suite!({
        let notifier = |endpoint| SlackNotifier::new("channel", endpoint);
        Hooked::start(notifier, str::to_owned).await
    });
}
