//! A snapshot as text: OpenMetrics 1.0, or Prometheus' older format for who asks for no other.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text},
    registry::Registry,
};

use super::{
    counts::{BUCKETS, Histogram},
    families::{self, Family},
    snapshot::Scrape,
};

/// How the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text 0.0.4.
    Prometheus,
}

impl Format {
    /// What the `Accept` field of a request asks for: OpenMetrics where it is named, as Prometheus does since 2.5.
    pub(super) fn accepted(accept: Option<&str>) -> Self {
        let open = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
        if open { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The media type of the text.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
        }
    }
}

/// The whole text.
pub(super) fn encode(scrape: Arc<Scrape>, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    match format {
        Format::OpenMetrics => text::encode(&mut text, &registry)?,
        Format::Prometheus => prometheus_text::encode(&mut text, &registry)?,
    }
    Ok(text)
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.write(&mut Writer { encoder: &mut encoder, left: families::ALL.iter() })
    }
}

/// Where families are written, one after the other, in the order of [`families::ALL`].
pub(super) struct Writer<'a, 'b> {
    encoder: &'a mut DescriptorEncoder<'b>,
    left: std::slice::Iter<'static, &'static Family>,
}

impl Writer<'_, '_> {
    /// Begins a family.
    pub(super) fn family(&mut self, family: &Family) -> Result<Series<'_>, fmt::Error> {
        // One that is left out, or told twice, is a fault of the code that a test finds.
        let next = self.left.next();
        debug_assert_eq!(next.map(|next| next.name), Some(family.name), "families in order");
        let Family { name, kind, labels, bound, help } = *family;
        let encoder = self.encoder.encode_descriptor(name, help, None, kind)?;
        Ok(Series { encoder, labels, left: bound.most() })
    }

    /// A family of one counter.
    pub(super) fn counter(&mut self, family: &Family, count: u64) -> fmt::Result {
        self.family(family)?.counter(&[], count)
    }

    /// A family of one gauge.
    pub(super) fn gauge(&mut self, family: &Family, value: f64) -> fmt::Result {
        self.family(family)?.gauge(&[], value)
    }
}

/// One family's series.
pub(super) struct Series<'a> {
    encoder: MetricEncoder<'a>,
    labels: &'static [&'static str],
    /// How many more there may be.
    left: usize,
}

impl Series<'_> {
    fn labelled(
        &mut self,
        values: &[&str],
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        debug_assert_eq!(values.len(), self.labels.len(), "{:?}", self.labels);
        debug_assert_ne!(self.left, 0, "{:?}", self.labels);
        self.left = self.left.saturating_sub(1);
        if values.is_empty() {
            return write(&mut self.encoder);
        }
        let set: Vec<(&str, &str)> =
            self.labels.iter().copied().zip(values.iter().copied()).collect();
        write(&mut self.encoder.encode_family(&set)?)
    }

    /// A counter with the given values of the family's labels.
    pub(super) fn counter(&mut self, values: &[&str], count: u64) -> fmt::Result {
        self.labelled(values, |encoder| encoder.encode_counter::<NoLabelSet, _, f64>(&count, None))
    }

    /// A counter that is no whole number.
    pub(super) fn seconds(&mut self, seconds: f64) -> fmt::Result {
        self.encoder.encode_counter::<NoLabelSet, _, f64>(&seconds, None)
    }

    /// A gauge.
    pub(super) fn gauge(&mut self, values: &[&str], value: f64) -> fmt::Result {
        self.labelled(values, |encoder| encoder.encode_gauge(&value))
    }

    /// A histogram of times, in seconds.
    pub(super) fn histogram(&mut self, values: &[&str], histogram: &Histogram) -> fmt::Result {
        let bounds = BUCKETS.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(histogram.buckets()).collect();
        let count = histogram.buckets().sum();
        self.labelled(values, |encoder| {
            encoder.encode_histogram::<NoLabelSet>(seconds(histogram.sum()), count, &buckets, None)
        })
    }

    /// What is told by its labels alone.
    pub(super) fn info(&mut self, values: &[&str]) -> fmt::Result {
        let set: Vec<(&str, &str)> =
            self.labels.iter().copied().zip(values.iter().copied()).collect();
        self.encoder.encode_info(&set)
    }
}

/// Nanoseconds in Prometheus' base unit.
#[expect(
    clippy::cast_precision_loss,
    reason = "2^53 ns are a hundred days, and then the last digit is lost"
)]
pub(super) fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}
