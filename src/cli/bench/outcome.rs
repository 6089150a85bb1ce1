//! What a case came to, as a line for people or an object for programs.

use super::{
    load::{Case, Load},
    percentile::Latency,
};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// The result of one case. What does not apply, or is not known without the server's process, is left out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Outcome {
    /// Name of the case.
    pub case: String,
    /// Quality of service.
    pub qos: u8,
    /// Publishers, or HTTP clients.
    pub publishers: usize,
    /// Subscribers or streams; in durable the sessions that are away.
    pub subscribers: usize,
    /// Bytes of a payload.
    pub payload: usize,
    /// Messages under way per publisher.
    pub window: u16,
    /// Time measured.
    pub seconds: f64,
    /// Messages that reached a receiver in that time; in durable those that were acknowledged.
    pub delivered: u64,
    /// Deliveries that never came, of the whole run.
    pub lost: u64,
    /// Deliveries per second.
    pub per_second: f64,
    /// Processor time of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// Deliveries per second of the server's processor time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_cpu_second: Option<f64>,
    /// Memory of the server at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss: Option<u64>,
    /// How many things memory was measured of: connections, filters, retained messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Bytes that each of them added to the server's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_each: Option<f64>,
    /// Deliveries per second beside subscribers that never read, as a share of those without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<f64>,
    /// Syncs of the log per second, as the gateway counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syncs_per_second: Option<f64>,
    /// Time from publisher to subscriber; in durable to the acknowledgement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

impl Outcome {
    /// Nothing measured yet.
    pub fn new(case: Case, load: &Load) -> Self {
        Outcome {
            case: case.to_string(),
            qos: load.qos,
            publishers: load.publishers(case),
            subscribers: load.subscribers(case),
            payload: load.payload,
            window: load.window(case),
            seconds: 0.0,
            delivered: 0,
            lost: 0,
            per_second: 0.0,
            cpu_seconds: None,
            per_cpu_second: None,
            rss: None,
            count: None,
            bytes_each: None,
            kept: None,
            syncs_per_second: None,
            latency: None,
        }
    }

    /// Sets what was delivered in which time, and what the server took for it.
    pub fn rate(&mut self, delivered: u64, time: Duration, cpu: Option<Duration>) {
        self.delivered = delivered;
        self.seconds = time.as_secs_f64();
        self.per_second = delivered as f64 / self.seconds;
        self.cpu_seconds = cpu.map(|cpu| cpu.as_secs_f64());
        self.per_cpu_second = self
            .cpu_seconds
            .filter(|cpu| *cpu > 0.0)
            .map(|cpu| delivered as f64 / cpu);
    }

    /// Sets what `count` things added to the server's memory.
    pub fn memory(&mut self, count: u32, before: Option<u64>, after: Option<u64>) {
        self.rss = after;
        self.count = Some(count);
        // no growth is no result: the server used memory again that it had before
        self.bytes_each = before
            .zip(after)
            .and_then(|(before, after)| after.checked_sub(before).filter(|grown| *grown > 0))
            .map(|grown| grown as f64 / f64::from(count));
    }

    /// One JSON object.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always have a JSON form")
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = vec![];
        if let (Some(count), Some(each)) = (self.count, self.bytes_each) {
            parts.push(format!("{} bytes each of {count}", number(each)));
        }
        if self.seconds > 0.0 {
            let reached = match self.case == Case::Durable.to_string() {
                true => "acknowledged",
                false => "delivered",
            };
            parts.push(format!(
                "{} {reached} in {:.1} s, {} lost, {}/s",
                number(self.delivered as f64),
                self.seconds,
                number(self.lost as f64),
                number(self.per_second)
            ));
        }
        if let (Some(cpu), Some(each)) = (self.cpu_seconds, self.per_cpu_second) {
            parts.push(format!("{} per CPU second ({cpu:.2} s)", number(each)));
        }
        if let Some(kept) = self.kept {
            parts.push(format!("{:.1} % kept beside stalled ones", kept * 100.0));
        }
        if let Some(syncs) = self.syncs_per_second {
            parts.push(format!("{} syncs/s", number(syncs)));
        }
        if let Some(latency) = &self.latency {
            parts.push(latency.to_string());
        }
        if let Some(rss) = self.rss {
            parts.push(format!("{:.1} MB resident", rss as f64 / 1e6));
        }
        write!(out, "{} qos {}: {}", self.case, self.qos, parts.join(", "))
    }
}

/// A number with its thousands apart; below 100 with one decimal.
pub fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 100.0 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let written: Vec<_> = [0.0, 7.0, 7.25, 999.9, 1234567.0]
            .into_iter()
            .map(number)
            .collect();
        assert_eq!(written, ["0", "7", "7.2", "1,000", "1,234,567"]);
    }
}
