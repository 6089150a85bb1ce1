//! `TABLE.md` is true: every threat has tests, and every test it names exists.

use std::{fs, path::Path};

const TABLE: &str = include_str!("TABLE.md");
/// The threats of the web's ways in are numbered W1 to W21.
const LAST: u32 = 21;

/// Threat, rule and tests of each row.
fn rows() -> Vec<(String, Vec<String>)> {
    let rows = TABLE.lines().filter(|line| line.starts_with("| W"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{row}");
        assert!(!cells[1].is_empty(), "{row}");
        let tests = cells[2].split('`').skip(1).step_by(2);
        (cells[0].to_owned(), tests.map(str::to_owned).collect())
    })
    .collect()
}

#[test]
fn every_threat_has_a_row_with_tests() {
    let rows = rows();
    for number in 1..=LAST {
        let name = format!("W{number}");
        let found: Vec<_> = rows.iter().filter(|(row, _)| *row == name).collect();
        assert_eq!(found.len(), 1, "{name}");
        assert!(!found[0].1.is_empty(), "{name} has no test");
    }
    assert_eq!(rows.len(), LAST as usize);
}

#[test]
fn every_test_that_the_table_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (row, tests) in rows() {
        for test in tests {
            let (file, name) = test
                .split_once("::")
                .unwrap_or_else(|| panic!("{row}: {test}"));
            let source = fs::read_to_string(root.join(file))
                .unwrap_or_else(|e| panic!("{row}: {file}: {e}"));
            let at = source.find(&format!("fn {name}("));
            let at = at.unwrap_or_else(|| panic!("{row}: no {name} in {file}"));
            let head = &source[at.saturating_sub(200)..at];
            assert!(head.contains("test"), "{row}: {test} is no test");
        }
    }
}

#[test]
fn every_test_of_this_folder_stands_in_the_table_and_names_its_threat() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/threats");
    for entry in fs::read_dir(here).expect("this folder") {
        let path = entry.expect("an entry").path();
        let file = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name")
            .to_owned();
        if !file.ends_with(".rs") || file == "table.rs" {
            continue;
        }
        let source = fs::read_to_string(&path).expect("a source");
        for part in source
            .split("\n#[")
            .filter(|part| part.starts_with("test]") || part.starts_with("tokio::test"))
        {
            let name = part
                .split("fn ")
                .nth(1)
                .and_then(|rest| rest.split('(').next());
            let test = format!("tests/threats/{file}::{}", name.expect("a name"));
            assert!(TABLE.contains(&test), "{test} is missing in TABLE.md");
            let before = &source[..source.find(part).expect("a part")];
            let comment = before.rsplit("\n\n").next().unwrap_or_default();
            assert!(
                comment.contains("/// W"),
                "{test} does not say which threat it is about"
            );
        }
    }
}
