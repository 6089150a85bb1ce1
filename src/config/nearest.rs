//! What somebody who wrote an unknown key may have meant.

/// The known path that looks most like `unknown`, if one does.
pub fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = last(unknown);
    known
        // short names are like others by chance
        .filter(|path| distance(name, last(path)) <= last(path).chars().count() / 3)
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

/// Letters to insert, drop or change, or pairs of neighbours to swap (Damerau and Levenshtein, restricted).
fn distance(a: &str, b: &str) -> usize {
    // longer than any key is far from all of them, and not worth the work
    if a.len() > 64 {
        return a.len();
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_letters() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("bind", "bind"), 0);
        assert_eq!(distance("bnid", "bind"), 1);
    }

    #[test]
    fn slips_and_wrong_sections_are_recognised_and_nonsense_is_not() {
        let known = [
            "mqtt.bind",
            "http.bind",
            "limits.payload",
            "store.durability",
            "mqtt.tls.cert",
        ];
        let of = |unknown| nearest(unknown, known.into_iter());
        assert_eq!(of("mqtt.bnid"), Some("mqtt.bind"));
        assert_eq!(of("htp.bind"), Some("http.bind"));
        assert_eq!(of("payload"), Some("limits.payload"));
        assert_eq!(of("mqtt.payload"), Some("limits.payload"));
        assert_eq!(of("store.durabilty"), Some("store.durability"));
        assert_eq!(of("mqtt.port"), None);
        assert_eq!(of("mqtt.crt"), Some("mqtt.tls.cert"));
        assert_eq!(of("colour"), None);
        assert_eq!(of(&"x".repeat(1000)), None);
    }
}
