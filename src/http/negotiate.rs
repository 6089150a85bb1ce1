//! Which of several forms of an answer a client accepts (RFC 9110, 12.5.1).

use axum::http::{HeaderMap, header};

/// How much `media_type` is wanted, 0 (not at all) to 1000. Nothing said is everything wanted.
pub fn weight(headers: &HeaderMap, media_type: &str) -> u16 {
    let mut said = false;
    // of the ranges that match, the most specific one counts
    let mut best = (0, 0);
    for (range, weight) in ranges(headers) {
        said = true;
        let specific = match specificity(&range, media_type) {
            Some(specific) => specific,
            None => continue,
        };
        if specific > best.0 {
            best = (specific, weight);
        }
    }
    if said { best.1 } else { 1000 }
}

/// Whether `media_type` itself is asked for, not just anything.
pub fn names(headers: &HeaderMap, media_type: &str) -> bool {
    ranges(headers).any(|(range, weight)| weight > 0 && range == media_type)
}

fn ranges(headers: &HeaderMap) -> impl Iterator<Item = (String, u16)> {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let name = parts
                .next()
                .filter(|name| !name.is_empty())?
                .to_ascii_lowercase();
            let weight =
                parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            let weight = match weight {
                Some(text) => text
                    .parse::<f32>()
                    .map_or(0, |q| (q.clamp(0.0, 1.0) * 1000.0).round() as u16),
                None => 1000,
            };
            Some((name, weight))
        })
}

fn specificity(range: &str, media_type: &str) -> Option<u8> {
    if range == media_type {
        return Some(3);
    }
    if range == "*/*" {
        return Some(1);
    }
    let kind = range.strip_suffix("/*")?;
    (media_type.split_once('/')?.0 == kind).then_some(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn accept(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(value))])
    }

    #[test]
    fn the_most_specific_range_counts() {
        let table = [
            ("text/event-stream", 1000, 0),
            ("application/x-ndjson", 0, 1000),
            ("*/*", 1000, 1000),
            ("application/x-ndjson, */*;q=0.1", 100, 1000),
            ("text/*;q=0.5, application/x-ndjson;q=0.2", 500, 200),
            ("*/*, text/event-stream;q=0", 0, 1000),
            ("Text/Event-Stream ; Q=0.9", 900, 0),
            ("text/event-stream;q=zzz", 0, 0),
            ("text/html", 0, 0),
        ];
        for (value, sse, ndjson) in table {
            let headers = accept(value);
            assert_eq!(weight(&headers, "text/event-stream"), sse, "{value}");
            assert_eq!(weight(&headers, "application/x-ndjson"), ndjson, "{value}");
        }
        assert_eq!(weight(&HeaderMap::new(), "text/event-stream"), 1000);
    }

    #[test]
    fn a_wildcard_names_nothing() {
        assert!(names(
            &accept("text/html, text/event-stream"),
            "text/event-stream"
        ));
        assert!(!names(&accept("*/*"), "text/event-stream"));
        assert!(!names(
            &accept("text/event-stream;q=0"),
            "text/event-stream"
        ));
    }
}
