//! Which feature subsets of the facade must compile: none, the default, and each feature alone.

use std::collections::BTreeMap;

/// Not checked alone: `default` is checked as the default, and `full` by every stage that takes all features.
const SUMS: &[&str] = &["default", "full"];

/// The arguments of one `cargo check` per subset, read from the features the facade has today.
pub(super) fn subsets(features: &BTreeMap<String, Vec<String>>) -> Vec<Vec<String>> {
    let mut subsets = vec![args(&["--no-default-features"]), Vec::new()];
    for feature in features.keys().filter(|feature| !SUMS.contains(&feature.as_str())) {
        subsets.push(args(&["--no-default-features", "--features", feature]));
    }
    subsets
}

fn args(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_is_checked_alone_beside_none_and_the_default() {
        let names = ["default", "alert", "trace", "full"];
        let features = names.into_iter().map(|name| (name.to_owned(), Vec::new())).collect();

        let subsets: Vec<String> = subsets(&features).iter().map(|args| args.join(" ")).collect();

        assert_eq!(
            subsets,
            [
                "--no-default-features",
                "",
                "--no-default-features --features alert",
                "--no-default-features --features trace",
            ]
        );
    }

    #[test]
    fn a_facade_without_features_has_two_subsets() {
        assert_eq!(subsets(&BTreeMap::new()).len(), 2);
    }
}
