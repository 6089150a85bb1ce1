//! The OpenAPI document in the hands of programs that know nothing of the gateway: a validator of the standard, and
//! Schemathesis, which makes requests from the document and holds every answer against it.

use crate::{
    program::{run, run_for},
    scripts::installed,
    support::gateway::Gateway,
};

const BIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.venv/bin");

#[test]
fn the_document_is_valid_by_the_standard() {
    let validator = installed(format!("{BIN}/openapi-spec-validator"));
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");
    let said = run(&validator, &[document], b"").succeeded("openapi-spec-validator");
    assert!(said.contains("OK"), "{said}");
}

/// Whatever a program sends that was made from the document, valid or not: no answer is a mistake of the gateway, none
/// has a status, a content type or a body that the document does not promise. Endless answers and upgrades have tests
/// of their own.
#[test]
fn no_answer_contradicts_the_document() {
    let gateway = Gateway::start(&[]);
    let schemathesis = installed(format!("{BIN}/st"));
    let document = format!("http://{}/openapi.json", gateway.http);
    let (seconds, examples) = match std::env::var_os("TIDEGATE_TEST_LONG") {
        Some(_) => (1800, "200"),
        None => (120, "3"),
    };
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,\
                  response_headers_conformance,response_schema_conformance";
    let hooks = concat!(
        "SCHEMATHESIS_HOOKS=",
        env!("CARGO_MANIFEST_DIR"),
        "/tests/interop/schemathesis_hooks.py"
    );
    let mut arguments = vec![hooks, &schemathesis, "run", &document, "--no-color"];
    arguments.extend(["--checks", checks]);
    arguments.extend(["--max-examples", examples, "--request-timeout", "20"]);
    arguments.extend(["--phases", "examples,coverage,fuzzing"]);
    arguments.extend(["--generation-database", "none", "--warnings", "off"]);
    for endless in ["/api/v1/stream", "/api/v1/ws", "/mqtt"] {
        arguments.extend(["--exclude-path", endless]);
    }
    let said = run_for(seconds, "env", &arguments, b"").succeeded("schemathesis");
    assert!(said.contains(" passed"), "{said}");
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
    gateway.stop();
}
