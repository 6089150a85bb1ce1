//! The power is cut again and again under load: unlike after a kill, the operating system does not write what it was
//! given.

use std::process::Command;

use crate::{
    cycles::tell,
    image::Image,
    lives::Lives,
    random::{self, Repeat},
    support::gateway::Gateway,
};

const MEGABYTES: u64 = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_often_the_power_is_cut_what_was_acknowledged_is_there_and_qos_2_comes_once() {
    let Some(cycles) = cycles() else {
        return tell("no power is cut without TIDEGATE_TEST_LONG");
    };
    let mut image = match Image::mounted(MEGABYTES) {
        Ok(image) => image,
        Err(why) => {
            return tell(&format!(
                "SKIPPED, no power is cut: an image cannot be mounted here: {why}"
            ));
        }
    };
    let (seed, _) = random::seed("TIDEGATE_TEST_SEED");
    let _repeat = Repeat(format!(
        "TIDEGATE_TEST_LONG=1 TIDEGATE_TEST_SEED={seed} cargo test --test durability power"
    ));
    tell(&format!("{cycles} power cuts, seed {seed}"));

    let data = tempfile::tempdir_in(image.root()).expect("a folder for the gateway's data");
    run("sync", &["-f", &data.path().display().to_string()]);
    let mut lives = Lives::of(data, seed);
    for cycle in 0..cycles {
        let cut = |gateway: Gateway| {
            // what it says from now on nobody would hear
            run("kill", &["-STOP", &gateway.pid().to_string()]);
            image.cut_power();
            drop(gateway); // SIGKILL
            image.restore_power();
        };
        lives = lives.live(cycle, cut).await;
        let count = lives.record.count_acknowledged();
        tell(&format!(
            "{} of {cycles} power cuts, {count} messages acknowledged",
            cycle + 1
        ));
    }
    // with it the folder goes, while its file system is still there
    lives.end(cycles).await;
}

fn cycles() -> Option<u64> {
    std::env::var_os("TIDEGATE_TEST_LONG")?;
    let cycles = std::env::var("TIDEGATE_TEST_CYCLES");
    let cycles = cycles.map_or(20, |text| {
        text.parse().expect("TIDEGATE_TEST_CYCLES is a number")
    });
    Some(cycles)
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    assert!(
        status.expect("it runs").success(),
        "{program} {arguments:?}"
    );
}
