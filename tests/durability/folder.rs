//! A data folder belongs to one process.

use std::{
    io::{BufRead, BufReader, Read},
    process::Child,
    sync::mpsc,
    thread,
};

use crate::support::{DEADLINE, gateway::Gateway, mqtt::Client, wire::Opening};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_data_folder_is_refused_with_a_message_that_names_the_folder()
{
    let first = Gateway::start(&[]);
    let mut client = Client::tcp(&first, &Opening::v5("early")).await;

    let data = first.data();
    let second = Gateway::command(data, [0, 0], &[]).spawn();
    let said = refusal(second.expect("the built tidegate starts"));
    let folder = data.display().to_string();
    assert!(said.contains(&folder), "{folder:?} is named in {said:?}");

    client.ping().await;
    // a process that was killed holds nothing
    let third = first.killed(&[]);
    Client::tcp(&third, &Opening::v5("late")).await.ping().await;
}

/// What the process says as it ends without ever being ready, with a status that is not success.
fn refusal(mut process: Child) -> String {
    let stdout = BufReader::new(process.stdout.take().expect("stdout is a pipe"));
    let mut stderr = process.stderr.take().expect("stderr is a pipe");
    let (tell, outcome) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut lines = stdout.lines().map_while(Result::ok);
        let _ = tell.send(lines.any(|line| line == "ready"));
        let mut said = String::new();
        let _ = stderr.read_to_string(&mut said);
        said
    });
    let was_ready = outcome.recv_timeout(DEADLINE);
    // it has ended already, unless the test fails
    let _ = process.kill();
    let status = process.wait().expect("the child's status");
    let said = reader.join().expect("what it said");
    assert_eq!(was_ready, Ok(false), "it serves the folder: {said}");
    assert!(!status.success(), "{status}: {said}");
    said
}
