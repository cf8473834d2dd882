//! What a regular expression asks for, read off its syntax, so that an index can look values up
//! and few values have to be run through an automaton.

use std::sync::Arc;

use regex::Regex;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::Extractor;

/// The largest finite set that is kept as one, in values and in bytes of each; a larger one is left
/// to the automaton.
const VALUES: usize = 128;
const VALUE_BYTES: usize = 1024;

/// A regular expression that a whole value must fit; `.` is any character, also a line feed.
#[derive(Debug)]
pub(super) struct Pattern {
    /// With what every value begins that fits.
    prefix: Box<str>,
    fit: Fit,
}

/// Which values fit.
#[derive(Debug)]
enum Fit {
    Any,
    AnyButEmpty,
    /// These alone, sorted.
    OneOf(Box<[Arc<str>]>),
    Automaton(Regex),
}

impl Pattern {
    pub(super) fn new(pattern: &str) -> Result<Self, regex::Error> {
        match pattern {
            ".*" => return Ok(Self { prefix: "".into(), fit: Fit::Any }),
            ".+" => return Ok(Self { prefix: "".into(), fit: Fit::AnyButEmpty }),
            _ => {}
        }
        // By itself: within the anchors, `a)|(b` would be an expression.
        let mut parser = ParserBuilder::new().dot_matches_new_line(true).build();
        let syntax = parser.parse(pattern).map_err(|e| regex::Error::Syntax(e.to_string()))?;
        let literals = Extractor::new()
            .limit_class(VALUES)
            .limit_repeat(VALUE_BYTES)
            .limit_literal_len(VALUE_BYTES)
            .limit_total(VALUES)
            .extract(&syntax);
        // A character may be cut where values part.
        let prefix = literals.longest_common_prefix().unwrap_or_default();
        let prefix = prefix.utf8_chunks().next().map_or("", |chunk| chunk.valid()).into();
        let automaton = || Regex::new(&format!("^(?s:{pattern})$"));
        let literals = literals.literals().filter(|_| literals.is_exact());
        let finite = literals.and_then(|literals| {
            literals.iter().map(|l| std::str::from_utf8(l.as_bytes()).ok()).collect()
        });
        let Some(mut values): Option<Vec<&str>> = finite else {
            return Ok(Self { prefix, fit: Fit::Automaton(automaton()?) });
        };
        // The literals leave out that `^`, `$` and `\b` also ask for a place.
        if !syntax.properties().look_set().is_empty() {
            let automaton = automaton()?;
            values.retain(|value| automaton.is_match(value));
        }
        values.sort_unstable();
        values.dedup();
        Ok(Self { prefix, fit: Fit::OneOf(values.into_iter().map(Arc::from).collect()) })
    }

    pub(super) fn fits(&self, value: &str) -> bool {
        match &self.fit {
            Fit::Any => true,
            Fit::AnyButEmpty => !value.is_empty(),
            Fit::OneOf(values) => values.binary_search_by(|v| (**v).cmp(value)).is_ok(),
            Fit::Automaton(regex) => value.starts_with(&*self.prefix) && regex.is_match(value),
        }
    }

    pub(super) fn alternatives(&self) -> Option<&[Arc<str>]> {
        match &self.fit {
            Fit::OneOf(values) => Some(values),
            _ => None,
        }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alternatives(pattern: &str) -> Option<Vec<String>> {
        let pattern = Pattern::new(pattern).unwrap();
        pattern.alternatives().map(|values| values.iter().map(|v| v.to_string()).collect())
    }

    #[test]
    fn a_finite_set_of_values_is_read_off_the_pattern() {
        for (pattern, values) in [
            ("", vec![""]),
            ("a", vec!["a"]),
            ("c|a|b|a", vec!["a", "b", "c"]),
            ("a|", vec!["", "a"]),
            ("(foo|bar)baz", vec!["barbaz", "foobaz"]),
            ("5[0-2]x", vec!["50x", "51x", "52x"]),
            (r"a\.b", vec!["a.b"]),
            ("ab?", vec!["a", "ab"]),
            ("^(?:a|b)$", vec!["a", "b"]),
            ("a|b^", vec!["a"]),
            (r"\ba b\b", vec!["a b"]),
            ("é|è", vec!["è", "é"]),
            (r"[^\s\S]", vec![]),
        ] {
            let values: Vec<_> = values.into_iter().map(str::to_owned).collect();
            assert_eq!(alternatives(pattern), Some(values), "{pattern}");
        }
        assert_eq!(alternatives("[0-9]{2}").map(|all| all.len()), Some(100));
        for pattern in ["5..", "a*", "a+", "[0-9]{3}", r"\d", &"a".repeat(2000)] {
            assert_eq!(alternatives(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn a_prefix_is_whole_characters_that_every_value_begins_with() {
        for (pattern, prefix) in [
            ("foo.*", "foo"),
            ("^foo.*", "foo"),
            ("cluster-(a|b).*", "cluster-"),
            ("cluster-a.*|cluster-b.*", "cluster-"),
            ("5..", "5"),
            ("ab*c", "a"),
            ("(ab)+c", "ab"),
            ("(?:é|è).*", ""),
            (".*foo", ""),
            (".*", ""),
            ("foo|", ""),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().prefix(), prefix, "{pattern}");
        }
        let long = "a".repeat(2000);
        let pattern = Pattern::new(&long).unwrap();
        assert!(pattern.fits(&long) && !pattern.fits(pattern.prefix()));
    }

    #[test]
    fn a_pattern_is_an_expression_by_itself() {
        for pattern in ["a)|(b", "(", "a{2", "[z-a]", "a**{99999999}", r"\xff\p{Greek}"] {
            let plain = Regex::new(pattern).map(drop).map_err(|e| e.to_string());
            assert_eq!(Pattern::new(pattern).map(drop).map_err(|e| e.to_string()), plain);
        }
    }

    /// Expressions over few characters, so that they meet the values.
    fn expression() -> impl Strategy<Value = String> {
        let atom = prop::sample::select(vec![
            "", "a", "b", "é", "aé", ".", ".*", ".+", "[ab]", "[^a]", "[0-9]", r"\d", "^", "$",
            r"\b",
        ]);
        atom.prop_map(str::to_owned).prop_recursive(4, 16, 3, |inner| {
            let many = prop::collection::vec(inner.clone(), 1..4);
            prop_oneof![
                many.clone().prop_map(|all| all.concat()),
                many.prop_map(|all| format!("(?:{})", all.join("|"))),
                (inner, prop::sample::select(vec!["?", "*", "+", "{2}", "{1,2}", "*?"]))
                    .prop_map(|(sub, times)| format!("({sub}){times}")),
            ]
        })
    }

    /// All values of up to three of five characters.
    fn values() -> Vec<String> {
        let mut all = vec![String::new()];
        for from in [0, 1, 6] {
            let longer = all[from..]
                .iter()
                .flat_map(|v| ["a", "b", "0", "é", "\n"].map(|c| format!("{v}{c}")));
            all.extend(longer.collect::<Vec<_>>());
        }
        all
    }

    proptest! {
        #[test]
        fn what_is_read_off_a_pattern_agrees_with_the_automaton(expression in expression()) {
            let pattern = Pattern::new(&expression).unwrap();
            let automaton = Regex::new(&format!("^(?s:{expression})$")).unwrap();
            for value in values() {
                let fits = automaton.is_match(&value);
                prop_assert_eq!(pattern.fits(&value), fits, "{:?}", value);
                prop_assert!(!fits || value.starts_with(pattern.prefix()), "{:?}", value);
            }
            for value in pattern.alternatives().unwrap_or_default() {
                prop_assert!(automaton.is_match(value), "{:?}", value);
            }
        }
    }
}
