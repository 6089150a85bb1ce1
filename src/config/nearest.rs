//! What somebody who wrote an unknown key may have meant.

/// The known path that looks most like `unknown`, if one does.
pub fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = last(unknown);
    known
        .map(|path| {
            // the right name in a wrong section, or none, is as good as one slip in the whole path
            let by_name = distance(name, last(path)) + 1;
            (
                distance(unknown, path).min(by_name),
                distance(unknown, path),
                path,
            )
        })
        .min()
        .filter(|(best, _, path)| *best <= (path.len() / 4).max(2))
        .map(|(_, _, path)| path)
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Letters to insert, drop or change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    // longer than any key is far from all of them, and not worth the work
    if a.len() > 64 {
        return a.len();
    }
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let changed = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row[row.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_letters() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("bind", "bind"), 0);
    }

    #[test]
    fn slips_and_wrong_sections_are_recognised_and_nonsense_is_not() {
        let known = [
            "mqtt.bind",
            "http.bind",
            "limits.payload",
            "store.durability",
        ];
        let of = |unknown| nearest(unknown, known.into_iter());
        assert_eq!(of("mqtt.bnid"), Some("mqtt.bind"));
        assert_eq!(of("htp.bind"), Some("http.bind"));
        assert_eq!(of("payload"), Some("limits.payload"));
        assert_eq!(of("mqtt.payload"), Some("limits.payload"));
        assert_eq!(of("store.durabilty"), Some("store.durability"));
        assert_eq!(of("colour"), None);
        assert_eq!(of(&"x".repeat(1000)), None);
    }
}
