//! The committed OpenAPI document is the one the code serves.

#[test]
fn the_committed_document_is_the_one_that_is_served() {
    let committed = std::fs::read_to_string("openapi/openapi.json").unwrap_or_default();
    assert!(
        committed == tidegate::http::openapi::document(),
        "the API changed; look at the difference that `tidegate openapi > openapi/openapi.json` makes, and commit it"
    );
}
