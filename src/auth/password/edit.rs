//! Changes of a password file's text that leave every other line as it is, comments included.

use super::split;

/// The text with this hash as the user's: in the place of the first line that was the user's, else as a new last line.
/// Further lines of the same user go.
pub fn set(text: &str, user: &str, hash: &str) -> String {
    let new = format!("{user}:{hash}");
    let mut is_there = false;
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        match is_of(line, user) {
            false => lines.push(line),
            true if !is_there => {
                is_there = true;
                lines.push(&new);
            }
            true => {}
        }
    }
    if !is_there {
        lines.push(&new);
    }
    joined(&lines)
}

/// The text without the user; `None` if it has no such user.
pub fn remove(text: &str, user: &str) -> Option<String> {
    let others: Vec<&str> = text.lines().filter(|line| !is_of(line, user)).collect();
    (others.len() < text.lines().count()).then(|| joined(&others))
}

fn is_of(line: &str, user: &str) -> bool {
    matches!(split(line), Ok(Some((name, _))) if name == user)
}

fn joined(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| [*line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# plant\n ann :x\n\n#bob:y\ncy:z";

    #[test]
    fn a_known_user_keeps_the_place_and_a_new_one_comes_last() {
        assert_eq!(set(FILE, "ann", "h"), "# plant\nann:h\n\n#bob:y\ncy:z\n");
        assert_eq!(
            set(FILE, "bob", "h"),
            "# plant\n ann :x\n\n#bob:y\ncy:z\nbob:h\n"
        );
        assert_eq!(set("", "ann", "h"), "ann:h\n");
        assert_eq!(set("ann:x\ncy:z\nann:y", "ann", "h"), "ann:h\ncy:z\n");
    }

    #[test]
    fn only_the_user_named_is_removed() {
        assert_eq!(
            remove(FILE, "ann").as_deref(),
            Some("# plant\n\n#bob:y\ncy:z\n")
        );
        assert_eq!(remove(FILE, "bob"), None);
        assert_eq!(remove("cy:z", "cy").as_deref(), Some(""));
    }
}
