//! How often a gateway syncs its log, from its `/metrics`: nothing of servers that do not tell.

use super::load::Load;
use std::{
    io,
    time::{Duration, Instant},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long the page may take: another server may never answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between now and the end of the time that is measured; returns then, known or not.
pub async fn per_second(load: &Load) -> Option<f64> {
    let end = tokio::time::Instant::now() + load.time();
    let before = count(load).await;
    let start = Instant::now();
    tokio::time::sleep_until(end).await;
    let before = before?;
    let (after, time) = (count(load).await?, start.elapsed());
    Some(after.checked_sub(before)? as f64 / time.as_secs_f64())
}

/// Syncs so far.
async fn count(load: &Load) -> Option<u64> {
    let page = tokio::time::timeout(PATIENCE, page(load)).await;
    count_in(&page.ok()?.ok()?)
}

async fn page(load: &Load) -> io::Result<String> {
    let mut stream = load.door(true).tcp().await?;
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut page = Vec::new();
    stream.read_to_end(&mut page).await?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn count_in(page: &str) -> Option<u64> {
    let of = |line: &str| {
        line.strip_prefix("tidegate_store_syncs_total ")?
            .parse()
            .ok()
    };
    page.lines().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_among_the_others_and_is_unknown_elsewhere() {
        let page = "HTTP/1.1 200 OK\r\n\r\n# TYPE tidegate_store_syncs counter\ntidegate_store_syncs_total 71\nx 1\n";
        assert_eq!(count_in(page), Some(71));
        assert_eq!(count_in("HTTP/1.1 404 Not Found\r\n\r\n"), None);
    }
}
