//! The matrix: statements on one side, tests and exceptions on the other, and no hole between them.
//!
//! `TIDEGATE_WRITE_MATRIX=1` rewrites `MATRIX.md`; without it a stale one fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{CHAPTERS, choices::CHOICES, exceptions::EXCEPTIONS};

const LISTS: [(&str, &str, &str); 2] = [
    ("v5", "5.0", include_str!("normative-5.0.tsv")),
    ("v311", "3.1.1", include_str!("normative-3.1.1.tsv")),
];

/// Number and sentence of each statement of a version, in the order of the standard.
fn statements(list: &'static str) -> Vec<(&'static str, &'static str)> {
    let rows = list.lines().skip(1);
    rows.map(|row| {
        let cells: Vec<&str> = row.split('\t').collect();
        let id = cells[0].strip_prefix("MQTT-").expect("an id");
        (id, cells[3])
    })
    .collect()
}

/// Tests by version and clause.
fn proofs() -> BTreeMap<(&'static str, &'static str), Vec<String>> {
    let mut proofs: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for (module, claims) in CHAPTERS {
        for claim in *claims {
            for (version, clauses) in claim.clauses {
                for clause in *clauses {
                    let tests = proofs.entry((*version, *clause)).or_default();
                    tests.push(format!("{module}::{}", claim.test));
                }
            }
        }
    }
    proofs
}

fn is_numbered(clause: &str) -> bool {
    clause.starts_with(|first: char| first.is_ascii_digit())
}

#[test]
fn every_statement_has_a_test_or_an_exception_and_never_both() {
    let proofs = proofs();
    let mut faults = vec![];
    for (version, name, list) in LISTS {
        for (id, statement) in statements(list) {
            let excepted = EXCEPTIONS
                .iter()
                .any(|e| (e.version, e.id) == (version, id));
            match (proofs.contains_key(&(version, id)), excepted) {
                (false, false) => faults.push(format!("{name} MQTT-{id} has neither: {statement}")),
                (true, true) => faults.push(format!("{name} MQTT-{id} has both")),
                _ => {}
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_claim_and_exception_is_about_a_statement_that_exists() {
    let known: BTreeSet<(&str, &str)> = LISTS
        .iter()
        .flat_map(|(version, _, list)| statements(list).into_iter().map(|(id, _)| (*version, id)))
        .collect();
    let claimed = proofs()
        .into_keys()
        .filter(|(_, clause)| is_numbered(clause));
    let excepted = EXCEPTIONS.iter().map(|e| (e.version, e.id));
    for pair in claimed.chain(excepted) {
        assert!(known.contains(&pair), "{pair:?} is in no list");
    }
    for exception in EXCEPTIONS {
        assert!(
            exception.reason.len() > 20,
            "{} has no reason",
            exception.id
        );
    }
}

#[test]
fn the_tests_are_those_of_the_registry_and_no_others() {
    let mut registered = BTreeSet::new();
    for (module, claims) in CHAPTERS {
        for claim in *claims {
            for (version, _) in claim.clauses {
                for carrier in claim.carriers {
                    registered.insert(format!("{module}::{}::{version}::{carrier}", claim.test));
                }
            }
        }
    }
    let this = std::env::current_exe().expect("the path of this binary");
    let listed = Command::new(this)
        .args(["--list", "--format", "terse"])
        .output()
        .expect("this binary lists its tests");
    let listed = String::from_utf8(listed.stdout).expect("names are ASCII");
    let tests: BTreeSet<String> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .filter(|test| !test.starts_with("matrix::"))
        .map(str::to_owned)
        .collect();
    let strays: Vec<_> = tests.symmetric_difference(&registered).collect();
    assert!(strays.is_empty(), "in one of the two only: {strays:#?}");
}

#[test]
fn test_names_carry_their_versions_and_their_first_clause() {
    for (_, claims) in CHAPTERS {
        for claim in *claims {
            let versions: Vec<&str> = claim.clauses.iter().map(|(version, _)| *version).collect();
            let first = claim.clauses[0].1[0];
            let mut wanted = versions.join("_") + "_";
            if is_numbered(first) {
                write!(wanted, "mqtt_{}_", first.replace(['.', '-'], "_")).expect("a string");
            }
            assert!(
                claim.test.starts_with(&wanted),
                "{} begins with {wanted}",
                claim.test
            );
        }
    }
}

#[test]
fn every_choice_names_tests_that_exist() {
    let tests: BTreeSet<&str> = CHAPTERS
        .iter()
        .flat_map(|(_, claims)| claims.iter().map(|claim| claim.test))
        .collect();
    for choice in CHOICES {
        assert!(!choice.tests.is_empty(), "{}", choice.question);
        for test in choice.tests {
            assert!(tests.contains(test), "{test} of {:?}", choice.question);
        }
    }
}

#[test]
fn the_matrix_on_paper_is_current() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/MATRIX.md");
    let text = matrix();
    if std::env::var_os("TIDEGATE_WRITE_MATRIX").is_some() {
        std::fs::write(&path, &text).expect("MATRIX.md can be written");
    }
    let written = std::fs::read_to_string(Path::new(&path)).unwrap_or_default();
    assert!(
        written == text,
        "MATRIX.md is stale: run this test with TIDEGATE_WRITE_MATRIX=1"
    );
}

fn matrix() -> String {
    let proofs = proofs();
    let mut text = String::from(
        "# MQTT conformance matrix\n\n\
         Written by `TIDEGATE_WRITE_MATRIX=1 cargo test --test conformance matrix`; do not edit. Every test runs over\n\
         TCP and over WebSocket, once per version it names. The statements are in our words; the standards decide.\n\n\
         | list | statements | tested | excepted |\n|---|--:|--:|--:|\n",
    );
    for (version, name, list) in LISTS {
        let all = statements(list).len();
        let excepted = EXCEPTIONS.iter().filter(|e| e.version == version).count();
        line(
            &mut text,
            &format!("| {name} | {all} | {} | {excepted} |", all - excepted),
        );
    }
    for (version, name, list) in LISTS {
        line(
            &mut text,
            &format!("\n## {name}\n\n| id | statement | proof |\n|---|---|---|"),
        );
        for (id, statement) in statements(list) {
            let proof = match proofs.get(&(version, id)) {
                Some(tests) => quoted(tests),
                None => EXCEPTIONS
                    .iter()
                    .find(|e| (e.version, e.id) == (version, id))
                    .map_or_else(
                        || "none".to_owned(),
                        |e| format!("*not testable:* {}", e.reason),
                    ),
            };
            line(&mut text, &format!("| {id} | {statement} | {proof} |"));
        }
    }
    text.push_str(
        "\n## Beyond the numbered statements\n\n| version | what | proof |\n|---|---|---|\n",
    );
    for ((version, clause), tests) in &proofs {
        if !is_numbered(clause) {
            let version = match *version {
                "v31" => "3.1",
                "v311" => "3.1.1",
                _ => "5.0",
            };
            line(
                &mut text,
                &format!("| {version} | {clause} | {} |", quoted(tests)),
            );
        }
    }
    text.push_str(
        "\n## Choices\n\nWhere the standards leave a choice, or where two versions pull opposite ways.\n\n\
         | question | what the gateway does | why | proof |\n|---|---|---|---|\n",
    );
    for choice in CHOICES {
        let proof = quoted(choice.tests);
        line(
            &mut text,
            &format!(
                "| {} | {} | {} | {proof} |",
                choice.question, choice.answer, choice.reason
            ),
        );
    }
    text
}

fn quoted<T: AsRef<str>>(tests: &[T]) -> String {
    let quoted: Vec<String> = tests
        .iter()
        .map(|test| format!("`{}`", test.as_ref()))
        .collect();
    quoted.join(", ")
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
