//! Instructions per operation on the hot path, counted by valgrind's callgrind: the same on a busy machine as on an
//! idle one.
//!
//! ```console
//! cargo bench --bench instructions               # prints a table
//! cargo bench --bench instructions -- --check    # and fails if a count has left the baseline by more than 5 %
//! cargo bench --bench instructions -- --write    # and makes these counts the baseline
//! ```
//!
//! Each case runs under callgrind, which counts what stands below one function: not the set-up. The allocator is the one
//! that is shipped.
//!
//! **Machines.** Counts are those of one compiler, one valgrind, one C library and one processor family: memchr,
//! hashbrown and the C library's memcpy choose their code by what the processor can do, and valgrind shows programs a
//! processor that depends on the real one. The baseline names all four; `--check` compares only where all are the
//! same, and elsewhere prints and succeeds. Hash maps have random keys, which moves a count by less than 1 %.
#![allow(missing_docs, clippy::unwrap_used)]

mod baseline;
mod cases;

use baseline::{Baseline, Tools};
use cases::CASES;
use std::{
    process::{Command, ExitCode},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CASE: &str = "TIDEGATE_BENCH_CASE";
const REPETITIONS: &str = "TIDEGATE_BENCH_REPETITIONS";
/// In place of a case: print what the processor seems to be able to do.
const FEATURES: &str = "features";
const NO_VALGRIND: &str = "valgrind runs; Debian's package is called valgrind";

fn main() -> ExitCode {
    match (std::env::var(CASE), std::env::var(REPETITIONS)) {
        (Ok(case), _) if case == FEATURES => {
            println!("{}", baseline::features());
            return ExitCode::SUCCESS;
        }
        (Ok(case), Ok(repetitions)) => {
            let case = &CASES[case.parse::<usize>().unwrap()];
            (case.run)(repetitions.parse().unwrap());
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    // `cargo test --all-targets` also calls benches: counting is for those who ask for it
    if !asked("--bench") {
        return ExitCode::SUCCESS;
    }
    let names = CASES.iter().map(|case| case.name.to_owned());
    let now = Baseline {
        tools: Tools::here(&features_under_valgrind()),
        counts: names.zip(count_all()).collect(),
    };
    let old = Baseline::read();
    print!("{}", now.table(old.as_ref()));
    if asked("--write") {
        now.write();
        return ExitCode::SUCCESS;
    }
    match asked("--check") {
        true => now.check(old.as_ref()),
        false => ExitCode::SUCCESS,
    }
}

/// Instructions per operation of every case, as many at a time as there are processors.
fn count_all() -> Vec<f64> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mine = std::iter::repeat_with(|| next.fetch_add(1, Relaxed));
        let mine = mine.take_while(|nth| *nth < CASES.len());
        mine.map(|nth| (nth, per_operation(nth)))
            .collect::<Vec<_>>()
    };
    let mut counts = vec![0.0; CASES.len()];
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            for (nth, count) in worker.join().unwrap() {
                counts[nth] = count;
            }
        }
    });
    counts
}

fn per_operation(nth: usize) -> f64 {
    let repetitions = CASES[nth].repetitions;
    count(nth, repetitions) as f64 / repetitions as f64
}

fn count(case: usize, repetitions: usize) -> u64 {
    let arguments = [
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        "--toggle-collect=*cases::counted*",
    ];
    let run = valgrind(&arguments)
        .env(CASE, case.to_string())
        .env(REPETITIONS, repetitions.to_string())
        .output()
        .expect(NO_VALGRIND);
    let report = String::from_utf8_lossy(&run.stderr);
    let collected = report
        .lines()
        .find_map(|line| line.split("Collected : ").nth(1));
    collected
        .unwrap_or_else(|| panic!("callgrind says what it collected:\n{report}"))
        .trim()
        .parse()
        .unwrap()
}

fn features_under_valgrind() -> String {
    let run = valgrind(&["--tool=none"]).env(CASE, FEATURES).output();
    String::from_utf8_lossy(&run.expect(NO_VALGRIND).stdout)
        .trim()
        .to_owned()
}

fn valgrind(arguments: &[&str]) -> Command {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(arguments)
        .arg(std::env::current_exe().unwrap());
    valgrind
}
