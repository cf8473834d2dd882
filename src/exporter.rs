//! Metrics of a service that already runs `metrics-exporter-prometheus`.
