//! W1: a page of another origin acts for whoever visits it.

use crate::{
    setup,
    support::{http::Request, mqtt::Client, wire::Opening},
};

const METHODS: [&str; 4] = ["POST", "PUT", "DELETE", "GET"];
/// What forms and `no-cors` can send, what they cannot, and nothing.
const TYPES: [&str; 2] = ["application/json", "text/plain"];
const OWN: &str = "own";
/// The pages that requests come from; a program names none.
const PAGES: [&str; 3] = ["", OWN, "http://evil.example"];
const PROOFS: [&str; 4] = ["cookie", "bearer", "basic", "none"];

/// The rule. A token is never sent by a browser on its own account; everything else is, and so must come from a page of
/// the gateway's own, or from a program, which has no cookie. Reading changes nothing, and CORS keeps the answer from
/// foreign pages. The content type decides nothing: a payload may be anything.
fn expected(method: &str, page: &str, proof: &str) -> &'static str {
    let is_ambient = proof != "bearer";
    let is_trusted = page == OWN || page.is_empty() && proof != "cookie";
    match () {
        () if method != "GET" && is_ambient && !is_trusted => "origin-rejected",
        () if proof == "none" => "not-authenticated",
        () => "done",
    }
}

/// W1: 96 cases of method, content type, page and proof.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_browser_proves_by_itself_acts_for_pages_of_the_gateway_only() {
    let (gateway, _folder) = setup::guarded(&[]);
    let cookie = setup::cookie(gateway.http, "u0").await;
    let opening = Opening::v5("watcher").login("u0", setup::PASSWORD);
    let mut watcher = Client::tcp(&gateway, &opening).await;
    watcher.subscribe(&[("u0/#", 1)]).await;
    let mut wanted = vec![];
    let mut cases = 0;
    for method in METHODS {
        for content_type in TYPES {
            for page in PAGES {
                for proof in PROOFS {
                    cases += 1;
                    let case = format!("{method} {content_type} from {page:?} by {proof}");
                    // something to read and to delete
                    let topic = format!("u0/{cases}");
                    let target = format!("/api/v1/topics/{topic}");
                    let before = Request::put(&target, "before")
                        .header("Authorization", &setup::basic("u0"));
                    assert_eq!(before.send(gateway.http).await.status, 200);
                    wanted.push((topic.clone(), "before".to_owned()));

                    let mut request =
                        Request::new(method, &target).header("Content-Type", content_type);
                    if matches!(method, "POST" | "PUT") {
                        request = request.body(case.as_str());
                    }
                    request = match page {
                        "" => request,
                        OWN => request.header("Origin", &format!("http://{}", gateway.http)),
                        page => request.header("Origin", page),
                    };
                    request = match proof {
                        "cookie" => request.header("Cookie", &cookie),
                        "bearer" => request.header("Authorization", &setup::bearer("u0")),
                        "basic" => request.header("Authorization", &setup::basic("u0")),
                        _ => request,
                    };
                    let answer = request.send(gateway.http).await;
                    match expected(method, page, proof) {
                        "origin-rejected" => drop(answer.assert_problem(403, "origin-rejected")),
                        "not-authenticated" => {
                            drop(answer.assert_problem(401, "not-authenticated"))
                        }
                        _ => {
                            assert!(matches!(answer.status, 200 | 204), "{case}: {answer:?}");
                            match method {
                                "POST" | "PUT" => wanted.push((topic, case)),
                                "DELETE" => wanted.push((topic, String::new())),
                                _ => {}
                            }
                        }
                    }
                }
            }
        }
    }
    assert_eq!(cases, 96);
    let marker =
        Request::post("/api/v1/topics/u0/marker", "").header("Authorization", &setup::basic("u0"));
    assert_eq!(marker.send(gateway.http).await.status, 200);
    let heard = watcher.receive_until("u0/marker").await;
    let heard: Vec<(String, String)> = heard
        .iter()
        .map(|message| (message.topic.clone(), message.text()))
        .collect();
    assert_eq!(
        heard, wanted,
        "what was refused did nothing, what was not did it once"
    );
}

/// W1: what a member of a share group is given, no other member is: to take it is an act.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_page_takes_no_work_out_of_a_share_group() {
    let (gateway, _folder) = setup::guarded(&[]);
    let cookie = setup::cookie(gateway.http, "u0").await;
    for filter in [
        "$share/g/u0/%23",
        "%24share%2Fg%2Fu0%2F%23",
        "u0/%23&topic=$share/g/u0/a",
    ] {
        let target = format!("/api/v1/stream?topic={filter}");
        let request = Request::get(&target)
            .header("Accept", "text/event-stream")
            .header("Cookie", &cookie);
        let foreign = request.clone().header("Origin", "http://evil.example");
        foreign
            .send(gateway.http)
            .await
            .assert_problem(403, "origin-rejected");
        let own = request.header("Origin", &format!("http://{}", gateway.http));
        assert_eq!(own.open(gateway.http).await.head.status, 200, "{filter}");
    }
}

/// W1: logging in and out, and giving out tickets, are acts too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_page_logs_nobody_in_or_out_and_gets_no_ticket() {
    let (gateway, _folder) = setup::guarded(&[]);
    let cookie = setup::cookie(gateway.http, "u0").await;
    let login = format!("{{\"user\":\"u1\",\"password\":\"{}\"}}", setup::PASSWORD);
    for (name, value) in [
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        for request in [
            Request::post("/auth/session", login.as_str()),
            Request::new("DELETE", "/auth/session").header("Cookie", &cookie),
            Request::post("/auth/session", "").header("Cookie", &cookie),
            Request::post("/auth/tickets", r#"{"topics":["u0/#"]}"#).header("Cookie", &cookie),
            Request::post("/api/v1/messages", "[]").header("Cookie", &cookie),
        ] {
            let request = request.header("Content-Type", "application/json");
            let answer = request.header(name, value).send(gateway.http).await;
            answer.assert_problem(403, "origin-rejected");
            assert_eq!(answer.header("set-cookie"), None);
        }
    }
    // none of it ended the session
    let who = Request::get("/auth/session").header("Cookie", &cookie);
    assert_eq!(who.send(gateway.http).await.json()["user"], "u0");
}
