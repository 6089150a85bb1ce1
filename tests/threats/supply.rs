//! W21: what the gateway is built from.

use std::{fs, path::Path, process::Command};

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// W21: every crate is one release of the public registry, named by version and checksum in the committed lock.
#[test]
fn every_dependency_is_locked_to_a_release_with_a_checksum() {
    let lock: toml::Value = toml::from_str(&text("Cargo.lock")).expect("a lock file");
    let packages = lock["package"].as_array().expect("packages");
    assert!(packages.len() > 100);
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        if name == "tidegate" {
            continue;
        }
        let source = package.get("source").and_then(|source| source.as_str());
        let registry = "registry+https://github.com/rust-lang/crates.io-index";
        assert_eq!(source, Some(registry), "{name}");
        let checksum = package.get("checksum").and_then(|sum| sum.as_str());
        assert_eq!(checksum.map(str::len), Some(64), "{name}");
    }
    let ignored = text(".gitignore");
    assert!(!ignored.contains("Cargo.lock"));
    let tracked = Command::new("git")
        .args(["ls-files", "--error-unmatch", "Cargo.lock"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    // a source archive is no repository
    if let Ok(tracked) = tracked
        && Path::new(env!("CARGO_MANIFEST_DIR")).join(".git").exists()
    {
        assert!(tracked.status.success(), "Cargo.lock is committed");
    }
}

/// W21: our own code has nothing unsafe, and no exception from that.
#[test]
fn unsafe_code_is_forbidden_and_nowhere_allowed() {
    let manifest: toml::Value = toml::from_str(&text("Cargo.toml")).expect("a manifest");
    assert_eq!(
        manifest["lints"]["rust"]["unsafe_code"].as_str(),
        Some("forbid")
    );
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let source = fs::read_to_string(&path).unwrap_or_default();
            for word in ["unsafe {", "unsafe fn", "unsafe impl", "allow(unsafe_code"] {
                assert!(!source.contains(word), "{}: {word}", path.display());
            }
        }
    }
    assert!(files > 100);
}

/// W21: the tools that clients of the interop tests come from are locked, too.
#[test]
fn packages_of_other_languages_are_locked() {
    let lock: serde_json::Value =
        serde_json::from_str(&text("tests/interop/package-lock.json")).expect("JSON");
    let packages = lock["packages"].as_object().expect("packages");
    for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
        assert!(package["integrity"].is_string(), "{name}");
        let resolved = package["resolved"]
            .as_str()
            .unwrap_or("https://registry.npmjs.org/");
        assert!(
            resolved.starts_with("https://registry.npmjs.org/"),
            "{name}: {resolved}"
        );
    }
    let pinned = text("tests/interop/requirements.txt");
    assert!(pinned.lines().all(|line| line.contains("==")), "{pinned}");
}
