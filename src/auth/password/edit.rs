//! Changes of a password file's text that leave every other line as it is, comments included.

use super::split;

/// The text with this hash as the user's: in the place of the line that was there, else as a new last line.
pub fn set(text: &str, user: &str, hash: &str) -> String {
    let line = format!("{user}:{hash}");
    let mut lines: Vec<&str> = text.lines().collect();
    match lines.iter().position(|line| is_of(line, user)) {
        Some(place) => lines[place] = &line,
        None => lines.push(&line),
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
