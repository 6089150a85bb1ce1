//! The example file: every setting with its default, commented out.

use super::{Settings, keys::keys};
use std::fmt::Write;

/// The example, as committed beside this file; a test keeps both equal.
pub const EXAMPLE: &str = include_str!("example.toml");

/// The example, from the table of settings.
pub fn generate() -> String {
    let mut text = String::from(
        "# Tidegate's settings with their defaults. Remove a \"# \" to change one.\n\
         # Each can also be given as an environment variable, TIDEGATE_HTTP__BIND for http.bind,\n\
         # or on the command line, --set http.bind=127.0.0.1:8081; the command line wins, then the environment.\n",
    );
    let mut defaults = Settings::default();
    let mut section = "";
    for key in keys() {
        if key.section() != section {
            section = key.section();
            let _ = writeln!(text, "\n[{section}]"); // a String takes everything
        }
        for line in key.about.lines() {
            let _ = writeln!(text, "## {line}");
        }
        let value = (key.show)(&mut defaults).unwrap_or_else(|| key.sample.to_owned());
        let _ = writeln!(text, "# {} = {value}", key.name());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_example_is_what_the_code_says() {
        let code = generate();
        if code != EXAMPLE {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/example.toml");
            if std::env::var_os("TIDEGATE_WRITE_EXAMPLE").is_some() {
                std::fs::write(path, &code).unwrap();
            }
            panic!(
                "src/config/example.toml differs; run this test with TIDEGATE_WRITE_EXAMPLE=1 to write it"
            );
        }
    }

    #[test]
    fn the_example_is_accepted_as_it_is_and_with_every_comment_removed() {
        assert_eq!(
            crate::config::load_text(EXAMPLE).unwrap(),
            Settings::default()
        );
        let lines = EXAMPLE.lines().skip(3);
        let live: String = lines
            .filter(|line| !line.starts_with("##"))
            .map(|line| format!("\n{}", line.trim_start_matches("# ")))
            .collect();
        let read = crate::config::load_text(&live).unwrap_or_else(|faults| panic!("{faults}"));
        let mut expected = Settings::default();
        expected.auth.anonymous = Some(true);
        expected.auth.passwd_file = Some("/etc/tidegate/passwd".into());
        assert_eq!(read, expected);
        for key in keys() {
            assert!(
                live.contains(&format!("\n{} = ", key.name())),
                "{}",
                key.path
            );
        }
    }
}
