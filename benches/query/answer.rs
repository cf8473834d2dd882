//! What an answer says, as far as two of them can be compared.

use std::io;

/// How many values an answer has, and their sum.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) values: usize,
    pub(crate) sum: f64,
}

impl Answer {
    /// Adds a value; what is no number only counts.
    pub(crate) fn add(&mut self, value: f64) {
        self.values += 1;
        if value.is_finite() {
            self.sum += value;
        }
    }

    /// Reads a matrix of Prometheus' API.
    pub(crate) fn read(body: &str) -> io::Result<Self> {
        let json: serde_json::Value = serde_json::from_str(body)?;
        let strange = || io::Error::other("the answer is no matrix");
        let mut answer = Self::default();
        for series in json["data"]["result"].as_array().ok_or_else(strange)? {
            for value in series["values"].as_array().ok_or_else(strange)? {
                let value = value[1].as_str().and_then(|text| text.parse().ok());
                answer.add(value.ok_or_else(strange)?);
            }
        }
        Ok(answer)
    }

    /// Whether both say the same, but for the order in which they were summed.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let close = (self.sum - other.sum).abs() <= 1e-9 * self.sum.abs();
        self.values == other.values && close
    }
}
