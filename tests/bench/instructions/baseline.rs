//! The counts that are committed, and what has become of them.

use std::{fmt::Write, path::PathBuf, process::Command, process::ExitCode};

/// How far a count may move before somebody has to say that it is meant.
const TOLERANCE: f64 = 0.05; // hash maps have their own keys in each run: below 1 % where topics are matched
const RENEW: &str = "cargo bench --bench instructions -- --write";

/// What counts depend on besides the code.
#[derive(Debug, PartialEq)]
pub struct Tools {
    rustc: String,
    valgrind: String,
    libc: String,
    processor: String,
}

impl Tools {
    /// Those of this machine; valgrind shows programs a processor with `features`.
    pub fn here(features: &str) -> Self {
        Tools {
            rustc: said(&["rustc", "--version"]),
            valgrind: said(&["valgrind", "--version"]),
            libc: said(&["getconf", "GNU_LIBC_VERSION"]),
            processor: format!("{} {features}", std::env::consts::ARCH)
                .trim()
                .to_owned(),
        }
    }

    fn lines(&self) -> [(&'static str, &str); 4] {
        [
            ("rustc", &self.rustc),
            ("valgrind", &self.valgrind),
            ("libc", &self.libc),
            ("processor", &self.processor),
        ]
    }
}

fn said(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).output();
    let text = output.map_or(String::new(), |output| {
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    });
    match text.is_empty() {
        true => "unknown".to_owned(),
        false => text,
    }
}

/// What the processor seems to be able to do, as far as libraries choose their code by it.
pub fn features() -> String {
    #[cfg(target_arch = "x86_64")]
    let all = [
        ("sse4.2", std::is_x86_feature_detected!("sse4.2")),
        ("avx", std::is_x86_feature_detected!("avx")),
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("bmi2", std::is_x86_feature_detected!("bmi2")),
        ("avx512bw", std::is_x86_feature_detected!("avx512bw")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let all: [(&str, bool); 0] = [];
    let present = all.iter().filter(|(_, present)| *present);
    present.map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}

/// Counts, and what they were made with.
#[derive(Debug)]
pub struct Baseline {
    /// What they were made with.
    pub tools: Tools,
    /// Case and instructions per operation.
    pub counts: Vec<(String, f64)>,
}

impl Baseline {
    /// The committed one; `None` if there is none.
    pub fn read() -> Option<Self> {
        let text = std::fs::read_to_string(file()).ok()?;
        let lines = || text.lines().filter_map(|line| line.split_once('\t'));
        let tool = |name: &str| {
            let value = lines().find(|line| line.0 == name);
            value.map_or(String::new(), |(_, value)| value.to_owned())
        };
        Some(Baseline {
            tools: Tools {
                rustc: tool("rustc"),
                valgrind: tool("valgrind"),
                libc: tool("libc"),
                processor: tool("processor"),
            },
            counts: lines()
                .filter_map(|(count, name)| Some((name.to_owned(), count.parse().ok()?)))
                .collect(),
        })
    }

    /// Commits to these counts.
    pub fn write(&self) {
        let mut text = format!("# Instructions per operation. Renew with: {RENEW}\n");
        for (name, value) in self.tools.lines() {
            let _ = writeln!(text, "{name}\t{value}");
        }
        for (name, count) in &self.counts {
            let _ = writeln!(text, "{count:.1}\t{name}");
        }
        std::fs::write(file(), text).unwrap();
        println!("written to {}", file().display());
    }

    /// These counts beside the old ones.
    pub fn table(&self, old: Option<&Baseline>) -> String {
        let mut text = format!(
            "{:>12} {:>12} {:>8}  case\n",
            "instructions", "baseline", ""
        );
        for (name, count) in &self.counts {
            let (was, change) = match old.and_then(|old| old.count(name)) {
                Some(was) => (
                    format!("{was:.1}"),
                    format!("{:+.1} %", moved(*count, was) * 100.0),
                ),
                None => ("-".to_owned(), "new".to_owned()),
            };
            let _ = writeln!(text, "{count:>12.1} {was:>12} {change:>8}  {name}");
        }
        text
    }

    /// Success, unless these counts can be compared with the old ones and have left them.
    pub fn check(&self, old: Option<&Baseline>) -> ExitCode {
        let Some(old) = old else {
            println!("there is no baseline; make one with: {RENEW}");
            return ExitCode::FAILURE;
        };
        if self.tools != old.tools {
            println!("not compared: the baseline was made with other tools");
            for ((name, here), (_, there)) in self.tools.lines().iter().zip(old.tools.lines()) {
                if *here != there {
                    println!("  {name}: {there}; here {here}");
                }
            }
            return ExitCode::SUCCESS;
        }
        let faults = self.faults(old);
        if faults.is_empty() {
            let percent = TOLERANCE * 100.0;
            println!("all within {percent:.0} % of the baseline");
            return ExitCode::SUCCESS;
        }
        println!();
        faults.iter().for_each(|fault| println!("{fault}"));
        println!("If that is meant, commit what this writes: {RENEW}");
        ExitCode::FAILURE
    }

    fn faults(&self, old: &Baseline) -> Vec<String> {
        let mut faults = vec![];
        for (name, count) in &self.counts {
            match old.count(name) {
                None => faults.push(format!("NEW     {name}: not in the baseline")),
                Some(was) if moved(*count, was) > TOLERANCE => {
                    faults.push(format!("WORSE   {name}: {was:.1} -> {count:.1}"));
                }
                // what was gained must not be lost again unseen
                Some(was) if moved(*count, was) < -TOLERANCE => {
                    faults.push(format!("BETTER  {name}: {was:.1} -> {count:.1}"));
                }
                Some(_) => {}
            }
        }
        let gone = old
            .counts
            .iter()
            .filter(|(name, _)| self.count(name).is_none());
        faults.extend(gone.map(|(name, _)| format!("GONE    {name}")));
        faults
    }

    fn count(&self, case: &str) -> Option<f64> {
        let found = self.counts.iter().find(|(name, _)| name == case);
        found.map(|(_, count)| *count)
    }
}

/// By which share a count is above what it was.
fn moved(count: f64, was: f64) -> f64 {
    let share = count / was - 1.0;
    // what would be printed as nothing has no sign
    if share.abs() < 0.0005 { 0.0 } else { share }
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bench/instructions.baseline.tsv")
}
