//! The OpenAPI 3.1 document, from the annotations beside the handlers.

use crate::http::{
    auth_check, batch, envelope, history, listing,
    login::{session, ticket},
    probes, problem, retained, stream, topics, upgrade, ws,
};
use serde_json::{Value, json};
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidegate",
        description = "An MQTT broker that speaks HTTP, SSE and WebSocket: one message, every way in and out.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT"),
    ),
    paths(
        topics::post, topics::put, retained::get, topics::delete, listing::list, batch::post, history::get, auth_check::get, session::get, session::post, session::delete, ticket::post, stream::get, ws::get,
        upgrade::mqtt,
        probes::discovery, probes::healthz, probes::readyz, probes::metrics,
    ),
    components(schemas(
        envelope::Envelope, envelope::Properties, batch::NewMessage, batch::NewProperties, batch::ItemProblem, batch::Summary,
        problem::ProblemBody, problem::Fault, history::PageBody, history::GapBody,
    )),
    tags(
        (name = "topics", description = "The mouth and the state of one topic."),
        (name = "messages", description = "Messages of many topics: published at once, or read in pages."),
        (name = "stream", description = "The flow of messages."),
        (name = "websocket", description = "Everything over one connection, in JSON."),
        (name = "auth", description = "Who one is, and what one may do."),
        (name = "mqtt", description = "MQTT over WebSocket."),
        (name = "operations", description = "What machines ask."),
    )
)]
struct Document;

const TOPIC_PATH: &str = "/api/v1/topics/{topic}";
const TWIN_PATH: &str = "/api/v1/topics";

/// The document as it is served and committed: indented, with a newline at the end.
pub fn document() -> String {
    // a document made of strings and numbers always has a JSON form
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    add_twins(&mut document);
    add_what_any_request_may_get(&mut document);
    add_credentials(&mut document);
    document["paths"]["/api/v1/stream"]["get"]["x-sse-events"] = sse_events();
    document["paths"]["/api/v1/ws"]["get"]["x-frames"] = websocket_frames();
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

/// Every operation on a topic also answers without it in the path and with `?topic=`.
fn add_twins(document: &mut Value) {
    let Value::Object(operations) = document["paths"][TOPIC_PATH].clone() else {
        return;
    };
    for (method, mut operation) in operations {
        // to read has its place in the description of the list already
        if !document["paths"][TWIN_PATH][&method].is_null() {
            continue;
        }
        if let Some(id) = operation["operationId"].as_str() {
            operation["operationId"] = format!("{id}ByQuery").into();
        }
        if let Some(summary) = operation["summary"].as_str() {
            operation["summary"] = format!("{} Topic in the query.", summary).into();
        }
        for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
            if parameter["name"] == "topic" {
                parameter["in"] = "query".into();
                parameter["description"] =
                    "A topic name, without wildcards: any that MQTT allows.".into();
            }
        }
        document["paths"][TWIN_PATH][&method] = operation;
    }
}

/// Answers to requests of any kind, so that an answer that is not in the document is a mistake.
const ANY_REQUEST: [(&str, &str); 10] = [
    ("400", "`parameter-invalid`, `request-invalid`"),
    ("401", "`not-authenticated`"),
    (
        "403",
        "`not-authorized`, `origin-rejected`, `not-supported`",
    ),
    ("405", "`method-not-allowed`"),
    ("414", "`uri-too-long`"),
    ("421", "`host-rejected`"),
    (
        "429",
        "`quota-exceeded`: too many requests, or logins that failed",
    ),
    ("431", "`head-too-large`"),
    ("500", "`internal`"),
    (
        "503",
        "`overloaded`: too many logins at a time; `shutting-down`",
    ),
];

fn add_what_any_request_may_get(document: &mut Value) {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    let operations = paths
        .filter_map(|(_, path)| path.as_object_mut())
        .flatten()
        .map(|(_, operation)| operation);
    for operation in operations {
        for (status, description) in ANY_REQUEST {
            let response = &mut operation["responses"][status];
            if response.is_null() {
                *response = json!({
                    "description": description,
                    "content": {
                        "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                    }
                });
            }
        }
    }
}

/// How a caller says who he is; on a gateway without users he need not.
fn add_credentials(document: &mut Value) {
    document["components"]["securitySchemes"] = json!({
        "basic": {"type": "http", "scheme": "basic", "description": "User and password, as over MQTT."},
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "session": {
            "type": "apiKey", "in": "cookie", "name": "__Host-tidegate",
            "description": "What `POST /auth/session` gives a browser."
        },
        "ticket": {
            "type": "apiKey", "in": "query", "name": "ticket",
            "description": "What `POST /auth/tickets` makes for an address, below `/api/v1/`."
        },
    });
    document["security"] =
        json!([{}, {"basic": []}, {"bearer": []}, {"session": []}, {"ticket": []}]);
}

/// What OpenAPI 3.1 cannot say: the events inside a stream. In NDJSON each is an object with its name in `event`.
fn sse_events() -> Value {
    json!({
        "message": {
            "description": "Unnamed in SSE. A message.",
            "data": {"$ref": "#/components/schemas/Envelope"}
        },
        "ready": {
            "description": "First: the filters as they were understood, and when the stream ends at the latest.",
            "data": {
                "type": "object",
                "required": ["filters", "live", "resumable", "heartbeat", "expires"],
                "properties": {
                    "filters": {"type": "array", "items": {"type": "string"}},
                    "live": {"type": "boolean"},
                    "resumable": {"enum": [true, false, "partial"], "description": "Whether a client that presents a cursor goes on where it was; `partial` if some filters are shared."},
                    "since": {"type": "string", "description": "Where the stream begins."},
                    "not_recorded": {"type": "array", "items": {"type": "string"}, "description": "The filters that have no place in the log."},
                    "heartbeat": {"type": "integer"},
                    "expires": {"type": "string", "format": "date-time"},
                    "hint": {"type": "string"}
                }
            }
        },
        "gap": {
            "description": "Something may be missing between `from` and `to`: `expired` (the log has let go of it), `epoch` (the cursor of another log), `crash` (the gateway ended without a stop), `restart` (it was started anew, and no history rule covers the filter), `unknown` (no cursor that was ever given), `not-recorded` (nothing recorded it then), `overflow` (the client was too slow), `damaged` (the disk lost it). Retained messages follow.",
            "data": {
                "type": "object",
                "required": ["reason"],
                "properties": {
                    "reason": {"type": "string"},
                    "from": {"type": "string"},
                    "to": {"type": "string"},
                    "lost_at_most": {"type": "integer"}
                }
            }
        },
        "heartbeat": {
            "description": "A block with an id, without data, in SSE; an event with a cursor in NDJSON."
        },
        "bye": {
            "description": "Last: `max_age`, `shutting_down`, `overloaded`, `too_slow`, `quota_exceeded`, `rights_lost`, `token_expired`, `kicked`; and whether to come back.",
            "data": {
                "type": "object",
                "required": ["reason", "reconnect"],
                "properties": {
                    "reason": {"type": "string"},
                    "reconnect": {"type": "boolean"},
                    "status": {"type": "integer"}
                }
            }
        }
    })
}

/// What OpenAPI 3.1 cannot say either: the frames of the WebSocket that speaks JSON. Each is an object with its name in
/// `op`; `ref` is any number or string, and comes back in the answer.
fn websocket_frames() -> Value {
    let text = || json!({"type": "string"});
    json!({
        "client": {
            "auth": {
                "description": "Who it is; first, if at all. Answered by `ok`; a token that proves nothing by `err` and close 4401, one of a user who has `quota.connections` already by `err` and close 4429.",
                "data": {"type": "object", "required": ["token"], "properties": {"token": text()}}
            },
            "sub": {
                "description": "Listen. Answered by `ok` with the number of the subscription.",
                "data": {
                    "type": "object",
                    "required": ["topics"],
                    "properties": {
                        "topics": {"type": "array", "items": text(), "minItems": 1},
                        "since": {"type": "string", "description": "A cursor, an age (`10m`), a time (RFC 3339), `earliest` or `now`."},
                        "last": {"type": "integer", "minimum": 1, "description": "So many messages back, in place of `since`."},
                        "retained": {"type": "string", "enum": ["auto", "always", "never"]},
                        "payload": {"type": "string", "enum": ["auto", "base64", "none"]}
                    }
                }
            },
            "unsub": {
                "description": "Listen no longer.",
                "data": {"type": "object", "required": ["sub"], "properties": {"sub": {"type": "integer"}}}
            },
            "pub": {
                "description": "Publish. Answered by `ok` with the cursor when a PUBACK would be sent.",
                "data": {
                    "type": "object",
                    "required": ["topic"],
                    "properties": {
                        "topic": text(),
                        "payload": {"description": "A string; with encoding json anything."},
                        "encoding": {"type": "string", "enum": ["utf8", "base64", "json"]},
                        "qos": {"type": "integer", "minimum": 0, "maximum": 2},
                        "retain": {"type": "boolean"},
                        "properties": {"$ref": "#/components/schemas/Properties"}
                    }
                }
            },
            "ping": {"description": "Answered by `pong`."}
        },
        "server": {
            "ready": {
                "description": "First.",
                "data": {
                    "type": "object",
                    "required": ["client", "limits", "cursor"],
                    "properties": {
                        "client": text(),
                        "limits": {"$ref": "#/components/schemas/PublicLimits"},
                        "cursor": text()
                    }
                }
            },
            "ok": {
                "description": "Done. With `sub`, or with `cursor`, which is null if the message was not recorded.",
                "data": {
                    "type": "object",
                    "properties": {"sub": {"type": "integer"}, "cursor": {"type": ["string", "null"]}}
                }
            },
            "err": {
                "description": "Not done.",
                "data": {
                    "type": "object",
                    "required": ["problem"],
                    "properties": {"problem": {"$ref": "#/components/schemas/Problem"}}
                }
            },
            "msg": {
                "description": "A message of the subscription `sub`, with the members of the envelope beside it.",
                "data": {"$ref": "#/components/schemas/Envelope"}
            },
            "gap": {
                "description": "Messages of the subscription may be missing. Retained messages follow.",
                "data": {
                    "type": "object",
                    "required": ["sub", "reason"],
                    "properties": {
                        "sub": {"type": "integer"}, "reason": text(), "from": text(), "to": text(),
                        "lost_at_most": {"type": "integer"}
                    }
                }
            },
            "pong": {"description": "Answers `ping`."},
            "bye": {
                "description": "Last, before the close frame: `shutting_down`, `too_slow`, `rights_lost`, `token_expired`, `kicked`; and whether to come back.",
                "data": {
                    "type": "object",
                    "required": ["reason", "reconnect"],
                    "properties": {"reason": text(), "reconnect": {"type": "boolean"}}
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_openapi_3_1_and_always_the_same() {
        let read: Value = serde_json::from_str(&document()).unwrap();
        assert_eq!(read["openapi"], "3.1.0");
        assert_eq!(document(), document());
    }

    #[test]
    fn every_topic_operation_has_its_twin() {
        let read: Value = serde_json::from_str(&document()).unwrap();
        assert_eq!(read["paths"][TWIN_PATH]["get"]["operationId"], "listTopics");
        for method in ["get", "post", "put", "delete"] {
            let twin = &read["paths"][TWIN_PATH][method];
            let id = twin["operationId"].as_str().unwrap();
            assert!(id.ends_with("ByQuery") || method == "get", "{id}");
            assert!(
                twin["parameters"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|parameter| parameter["in"] != "path")
            );
        }
    }

    #[test]
    fn references_lead_somewhere() {
        let text = document();
        let read: Value = serde_json::from_str(&text).unwrap();
        for reference in text.split("\"$ref\": \"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(read.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
