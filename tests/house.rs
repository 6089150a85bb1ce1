//! The house rules, checked: rooms import only from rooms below them, and pure rooms stay pure.
//! Reads `crate::` paths only: do not reach other rooms by `super::super` or by the package's own name.
#![allow(clippy::unwrap_used, missing_docs)]
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Rooms from the foundation up. A room may import any room on a lower floor, never one beside or above it.
const FLOORS: &[&[&str]] = &[
    &["metrics", "mqtt", "watched"],
    &["message"],
    &["session", "routing", "auth"],
    &["store"],
    &["broker"],
    &["bridge", "webhook", "cluster", "observe"],
    &["listener"],
    &["http"],
    &["config"],
    &["app"],
    &["cli"],
];
const PURE: &[&str] = &["mqtt", "message", "session", "routing"];
const IMPURE_WORDS: &[&str] = &[
    "tokio",
    "std::net",
    "std::fs",
    "std::thread",
    "::now()",
    "async fn",
    ".await",
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, found)
        } else if entry.extension().is_some_and(|e| e == "rs") {
            found.push(entry)
        }
    }
}
fn room_of(file: &Path) -> String {
    let first = file
        .strip_prefix("src")
        .unwrap()
        .iter()
        .next()
        .unwrap()
        .to_str()
        .unwrap();
    first.trim_end_matches(".rs").to_owned()
}
fn code(file: &Path) -> String {
    // without comment lines and without the unit tests at the bottom
    let text = fs::read_to_string(file).unwrap();
    let text = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap()
        .to_owned();
    text.lines()
        .filter(|l| !l.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}
fn imports(code: &str) -> Vec<String> {
    // `crate::a::b` and `crate::{a::b, c}`
    let mut found = vec![];
    for tail in code.split("crate::").skip(1) {
        if let Some(group) = tail.strip_prefix('{') {
            let (mut depth, mut word) = (0, String::new());
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => {
                        found.push(std::mem::take(&mut word));
                        break;
                    }
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.push(std::mem::take(&mut word)),
                    c if depth == 0 => word.push(c),
                    _ => {}
                }
            }
        } else {
            found.push(tail.to_owned())
        }
    }
    let head = |s: &String| {
        s.trim()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    found
        .iter()
        .map(head)
        .filter(|s| !s.is_empty() && s != "self")
        .collect()
}
fn has_word(code: &str, word: &str) -> bool {
    // `.await` but not `.awaiting`
    code.match_indices(word).any(|(at, _)| {
        !code[at + word.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
    })
}

#[test]
fn rooms_import_only_from_lower_floors() {
    let floor: BTreeMap<&str, usize> = FLOORS
        .iter()
        .enumerate()
        .flat_map(|(i, f)| f.iter().map(move |r| (*r, i)))
        .collect();
    let (mut files, mut wrong) = (vec![], vec![]);
    sources(Path::new("src"), &mut files);
    for file in files {
        let room = room_of(&file);
        if room == "lib" || room == "main" {
            continue;
        }
        let here = *floor
            .get(room.as_str())
            .unwrap_or_else(|| panic!("{room} has no floor: add it to FLOORS"));
        for target in imports(&code(&file)) {
            let there = *floor
                .get(target.as_str())
                .unwrap_or_else(|| panic!("{}: crate::{target} is not a room", file.display()));
            if target != room && there >= here {
                wrong.push(format!(
                    "{}: {room} must not import {target}",
                    file.display()
                ))
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_rooms_do_no_io_and_read_no_clock() {
    let (mut files, mut wrong) = (vec![], vec![]);
    sources(Path::new("src"), &mut files);
    for file in files.iter().filter(|f| PURE.contains(&room_of(f).as_str())) {
        let code = code(file);
        for word in IMPURE_WORDS.iter().filter(|w| has_word(&code, w)) {
            wrong.push(format!("{}: uses `{word}`", file.display()))
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
