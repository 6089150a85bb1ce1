//! `/metrics`: the numbers of [`crate::metrics`] in the OpenMetrics text format.

use crate::metrics::{METRICS, Metrics, Refusal};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use std::fmt;

/// The media type of [`render_openmetrics`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything counted so far, as text.
pub fn render_openmetrics() -> String {
    render(&METRICS)
}

fn render(metrics: &'static Metrics) -> String {
    let mut registry = Registry::with_prefix("tidegate");
    registry.register_collector(Box::new(Page(metrics)));
    let mut text = String::new();
    // Writing into a String does not fail; were it to, half a page without its end mark says so to the reader.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct Page(&'static Metrics);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let m = self.0;
        let counters = [
            (
                "mqtt_received_bytes",
                "Bytes from MQTT clients",
                &m.received.bytes,
            ),
            ("mqtt_sent_bytes", "Bytes to MQTT clients", &m.sent.bytes),
            (
                "mqtt_received_packets",
                "Packets from MQTT clients",
                &m.received.packets,
            ),
            (
                "mqtt_sent_packets",
                "Packets to MQTT clients",
                &m.sent.packets,
            ),
            (
                "mqtt_received_publishes",
                "PUBLISH packets from MQTT clients",
                &m.received.publishes,
            ),
            (
                "mqtt_sent_publishes",
                "PUBLISH packets to MQTT clients",
                &m.sent.publishes,
            ),
            (
                "mqtt_received_payload_bytes",
                "Payload bytes from MQTT clients",
                &m.received.publish_bytes,
            ),
            (
                "mqtt_sent_payload_bytes",
                "Payload bytes to MQTT clients",
                &m.sent.publish_bytes,
            ),
            (
                "messages_published",
                "Messages handed to the router, every way in",
                &m.messages_published,
            ),
            (
                "publishes_dropped",
                "Copies that met a full queue",
                &m.publishes_dropped,
            ),
            (
                "sockets_opened",
                "Sockets accepted, every way in",
                &m.sockets_opened,
            ),
            (
                "tls_handshakes",
                "TLS handshakes completed",
                &m.tls_handshakes,
            ),
            (
                "tls_reloads",
                "Times renewed certificates were taken into use",
                &m.tls_reloads,
            ),
            (
                "tls_reload_failures",
                "Times renewed certificates were not usable",
                &m.tls_reload_failures,
            ),
            (
                "sessions_expired",
                "Sessions nobody came back for",
                &m.sessions_expired,
            ),
            (
                "stream_drops",
                "Copies a web stream fell behind on",
                &m.stream_drops,
            ),
            (
                "reloads_failed",
                "Changed files with passwords, keys of tokens or rules that could not be used",
                &m.reloads_failed,
            ),
            (
                "store_damaged",
                "Stretches of the log found damaged",
                &m.store_damaged,
            ),
            (
                "store_failures",
                "Times the disk failed; nothing is acknowledged afterwards",
                &m.store_failures,
            ),
            ("store_full", "Times the disk was found full", &m.store_full),
            ("store_syncs", "Syncs of the log", &m.store_syncs),
            (
                "store_written_bytes",
                "Bytes written to the log",
                &m.store_written_bytes,
            ),
        ];
        for (name, help, counter) in counters {
            let to = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(counter.get()).encode(to)?;
        }
        let to = encoder.encode_descriptor(
            "store_sync_seconds",
            "Time spent in syncs of the log",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(m.store_sync_micros.get() as f64 / 1e6).encode(to)?;
        let gauges = [
            (
                "clients_connected",
                "MQTT clients connected",
                &m.clients_connected,
            ),
            (
                "clients_maximum",
                "The most MQTT clients connected at a time",
                &m.clients_maximum,
            ),
            ("sessions", "Sessions, connected or parked", &m.sessions),
            (
                "sessions_parked",
                "Sessions without a connection",
                &m.sessions_parked,
            ),
            ("subscriptions", "Subscriptions", &m.subscriptions),
            (
                "subscriptions_shared",
                "Shared subscriptions",
                &m.subscriptions_shared,
            ),
            (
                "retained_messages",
                "Topics with a retained message",
                &m.retained_messages,
            ),
            (
                "retained_bytes",
                "Payload bytes of retained messages",
                &m.retained_bytes,
            ),
            ("stored_messages", "Messages waiting", &m.stored_messages),
            ("stored_bytes", "Payload bytes waiting", &m.stored_bytes),
            (
                "store_file_bytes",
                "Bytes of the log's files",
                &m.store_file_bytes,
            ),
            ("streams_open", "Web streams open", &m.streams_open),
            (
                "tls_outdated",
                "Listeners whose newest certificates are not usable",
                &m.tls_outdated,
            ),
        ];
        for (name, help, gauge) in gauges {
            let to = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(gauge.get() as i64).encode(to)?;
        }
        let mut to = encoder.encode_descriptor(
            "refused",
            "Refusals by reason",
            None,
            MetricType::Counter,
        )?;
        for why in Refusal::ALL {
            ConstCounter::new(m.refused(why).get())
                .encode(to.encode_family(&[("reason", why.name())])?)?;
        }
        let mut to = encoder.encode_descriptor(
            "http_responses",
            "Answers by status class",
            None,
            MetricType::Counter,
        )?;
        for (status, class) in [
            (100, "1xx"),
            (200, "2xx"),
            (300, "3xx"),
            (400, "4xx"),
            (500, "5xx"),
        ] {
            ConstCounter::new(m.responses(status).get())
                .encode(to.encode_family(&[("status", class)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_on_the_page_and_the_page_has_its_end() {
        static COUNTED: Metrics = Metrics::new();
        COUNTED.received.bytes.add(7);
        COUNTED.client_connected();
        COUNTED.refused(Refusal::NotAuthorized).inc();
        COUNTED.responses(404).add(3);
        COUNTED.store_syncs.add(2);
        COUNTED.store_sync_micros.add(1_250_000);
        let page = render(&COUNTED);
        for line in [
            "# TYPE tidegate_mqtt_received_bytes counter",
            "tidegate_mqtt_received_bytes_total 7",
            "# TYPE tidegate_clients_connected gauge",
            "tidegate_clients_connected 1",
            "tidegate_clients_maximum 1",
            r#"tidegate_refused_total{reason="not-authorized"} 1"#,
            r#"tidegate_refused_total{reason="origin"} 0"#,
            r#"tidegate_http_responses_total{status="4xx"} 3"#,
            "# TYPE tidegate_store_syncs counter",
            "tidegate_store_syncs_total 2",
            "tidegate_store_sync_seconds_total 1.25",
            "tidegate_store_written_bytes_total 0",
            "tidegate_store_damaged_total 0",
            "tidegate_store_failures_total 0",
            "tidegate_store_full_total 0",
        ] {
            assert!(
                page.lines().any(|l| l == line),
                "{line} is missing in\n{page}"
            );
        }
        assert!(page.ends_with("# EOF\n"));
    }
}
