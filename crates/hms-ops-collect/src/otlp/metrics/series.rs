//! The series of one point.
//!
//! What tells a series is brought into one run of bytes, which leads straight to its handle: only new
//! series cost label work.

use hms_ops_core::exposition::edge_label;
use hms_ops_core::labels::{INSTANCE, Labels, NAME};

use super::super::common::{Attribute, MAX_ATTRIBUTES, MAX_NAME_BYTES, MAX_TEXT_BYTES};
use super::name::label_name;
use crate::exposition::excerpt;

/// Ends a part of a key. Never within UTF-8.
const END: u8 = 0xff;

const JOB: &str = "job";
const SERVICE_NAME: &str = "service.name";
const SERVICE_NAMESPACE: &str = "service.namespace";
const SERVICE_INSTANCE: &str = "service.instance.id";

/// Who sent the points: what a resource says about it.
#[derive(Debug)]
pub(super) struct Target<'a> {
    /// `service.namespace/service.name`.
    pub(super) job: Option<String>,
    /// `service.instance.id`.
    pub(super) instance: Option<String>,
    /// The other attributes.
    pub(super) rest: Vec<&'a Attribute<'a>>,
}

impl<'a> Target<'a> {
    pub(super) fn new(resource: &'a [Attribute<'a>]) -> Self {
        let get = |key: &str| resource.iter().find(|a| a.key == key).map(|a| a.value.text());
        let job = get(SERVICE_NAME).map(|name| match get(SERVICE_NAMESPACE) {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.into_owned(),
        });
        let instance = get(SERVICE_INSTANCE).map(|instance| instance.into_owned());
        let identity = [SERVICE_NAME, SERVICE_NAMESPACE, SERVICE_INSTANCE];
        let rest = resource.iter().filter(|a| !identity.contains(&&*a.key)).collect();
        Self { job, instance, rest }
    }
}

/// The series of one point.
#[derive(Debug)]
pub(super) struct PointSeries<'a> {
    target: &'a Target<'a>,
    name: &'a str,
    attributes: Vec<&'a Attribute<'a>>,
    key: Vec<u8>,
    /// How much of the key all series of the point share.
    shared: usize,
    /// The labels that they share, once they were needed.
    labels: Option<Vec<(String, String)>>,
}

impl<'a> PointSeries<'a> {
    /// The series of a point of the metric `name` that has these attributes.
    ///
    /// # Errors
    ///
    /// Why a point cannot have them.
    pub(super) fn new(
        target: &'a Target<'a>,
        name: &'a str,
        attributes: impl Iterator<Item = &'a Attribute<'a>>,
    ) -> Result<Self, String> {
        let attributes: Vec<_> = attributes.take(MAX_ATTRIBUTES + 1).collect();
        if attributes.len() > MAX_ATTRIBUTES {
            return Err(format!("more than {MAX_ATTRIBUTES} attributes"));
        }
        if name.len() > MAX_NAME_BYTES {
            return Err(format!("a name of more than {MAX_NAME_BYTES} bytes"));
        }
        // Before they stand in the key of every point.
        for (label, value) in [(JOB, &target.job), (INSTANCE, &target.instance)] {
            if value.as_ref().is_some_and(|value| value.len() > MAX_TEXT_BYTES) {
                return Err(format!("{label} has more than {MAX_TEXT_BYTES} bytes"));
            }
        }
        let mut key = Vec::with_capacity(256);
        let mut part = |text: &str| {
            key.extend_from_slice(text.as_bytes());
            key.push(END);
        };
        // Absent and empty are the same to a label.
        part(target.job.as_deref().unwrap_or_default());
        part(target.instance.as_deref().unwrap_or_default());
        part(name);
        for attribute in &attributes {
            part(&attribute.key);
            part(&attribute.value.text());
        }
        let shared = key.len();
        Ok(Self { target, name, attributes, key, shared, labels: None })
    }

    /// The key of the series with this suffix and this label more.
    pub(super) fn key(&mut self, suffix: &str, edge: Option<(&'static str, f64)>) -> &[u8] {
        self.key.truncate(self.shared);
        // Attributes come in pairs, so an odd part ends them.
        self.key.extend_from_slice(suffix.as_bytes());
        self.key.push(END);
        if let Some((label, edge)) = edge {
            self.key.extend_from_slice(label.as_bytes());
            self.key.push(END);
            self.key.extend_from_slice(&edge.to_bits().to_be_bytes());
        }
        &self.key
    }

    /// The labels of that series. Attributes whose names become the same are joined by `;`, in the
    /// order of their keys; what the resource says wins over them.
    ///
    /// # Errors
    ///
    /// Why a series cannot have them.
    pub(super) fn labels(
        &mut self,
        suffix: &str,
        edge: Option<(&'static str, f64)>,
    ) -> Result<Labels, String> {
        let mut pairs = match &self.labels {
            Some(labels) => labels.clone(),
            None => {
                let labels = self.shared_labels()?;
                self.labels.insert(labels).clone()
            }
        };
        if let Some((label, edge)) = edge {
            pairs.push((label.to_owned(), edge_label(edge)));
        }
        pairs.push((NAME.to_owned(), format!("{}{suffix}", self.name)));
        Ok(Labels::from_pairs(pairs))
    }

    fn shared_labels(&self) -> Result<Vec<(String, String)>, String> {
        let mut sorted = self.attributes.clone();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        let mut labels: Vec<(String, String)> = Vec::with_capacity(sorted.len() + 4);
        for attribute in sorted {
            let name = label_name(&attribute.key)
                .ok_or_else(|| format!("{} cannot name a label", excerpt(&attribute.key)))?;
            if name.len() > MAX_NAME_BYTES {
                let excerpt = excerpt(&name);
                return Err(format!("the key {excerpt} has more than {MAX_NAME_BYTES} bytes"));
            }
            let value = attribute.value.text();
            match labels.iter_mut().find(|(other, _)| *other == name) {
                Some((_, values)) if values.is_empty() => *values = value.into_owned(),
                Some((_, values)) => {
                    values.push(';');
                    values.push_str(&value);
                }
                None => labels.push((name, value.into_owned())),
            }
        }
        labels.extend(self.target.job.clone().map(|job| (JOB.to_owned(), job)));
        labels.extend(self.target.instance.clone().map(|name| (INSTANCE.to_owned(), name)));
        match labels.iter().find(|(_, value)| value.len() > MAX_TEXT_BYTES) {
            Some((name, _)) => Err(format!("{name} has more than {MAX_TEXT_BYTES} bytes")),
            None => Ok(labels),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::common::AnyValue;
    use super::*;

    #[test]
    fn a_resource_too_long_for_a_label_is_refused_before_its_points_are_looked_at() {
        let text = "x".repeat(MAX_TEXT_BYTES + 1);
        for (key, reason) in [
            (SERVICE_NAME, "job has more than 4096 bytes"),
            (SERVICE_INSTANCE, "instance has more than 4096 bytes"),
        ] {
            let value = AnyValue::Text(text.as_str().into());
            let resource = [Attribute { key: key.into(), value }];
            let target = Target::new(&resource);
            assert_eq!(PointSeries::new(&target, "up", [].iter()).unwrap_err(), reason);
        }
    }
}
