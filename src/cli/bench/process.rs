//! What a process has used, from `/proc`: nothing on systems that have none.

use std::{fs, time::Duration};

/// Clock ticks per second of `/proc/PID/stat`: 100 for programs on every Linux architecture in use.
const TICKS: u64 = 100;

/// Processor time of all threads, in user and kernel mode.
pub fn cpu(pid: u32) -> Option<Duration> {
    cpu_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Resident memory in bytes.
pub fn rss(pid: u32) -> Option<u64> {
    rss_of(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn cpu_of(stat: &str) -> Option<Duration> {
    // the name of the program is in parentheses and may have spaces and parentheses itself
    let fields = stat.rsplit_once(") ")?.1;
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1000 / TICKS))
}

fn rss_of(status: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_a_strange_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 1 2 3";
        assert_eq!(cpu_of(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu_of("7 (a"), None);
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(
            rss_of("Name:\tx\nVmRSS:\t    2048 kB\n"),
            Some(2 * 1024 * 1024)
        );
        assert_eq!(rss_of("Name:\tkthreadd\n"), None);
    }
}
