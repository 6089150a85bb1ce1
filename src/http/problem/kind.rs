//! The kinds of problems: slug, status, title, and the MQTT reason code that says the same.

use crate::mqtt::reason::ReasonCode;
use axum::http::StatusCode;

/// What a problem's `type` begins with; the page behind it explains the fix.
pub const TYPE_BASE: &str = "https://tidegate.dev/problems/";

/// The kinds of problems. Their slugs are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it, `row` has their sentences
pub enum Kind {
    TopicInvalid,
    FilterInvalid,
    ParameterInvalid,
    BodyInvalid,
    RequestInvalid,
    UpgradeInvalid,
    NotAuthenticated,
    NotAuthorized,
    TopicReserved,
    NotSupported,
    SharedSubCursor,
    RetainUnsupported,
    OriginRejected,
    NotFound,
    NotRetained,
    MethodNotAllowed,
    NotAcceptable,
    PreconditionFailed,
    PayloadTooLarge,
    UriTooLong,
    MediaTypeUnsupported,
    HostRejected,
    PayloadFormatInvalid,
    UpgradeRequired,
    HeadTooLarge,
    QuotaExceeded,
    Internal,
    StorageUnavailable,
    Overloaded,
    ShuttingDown,
    IdempotencyInFlight,
    IdempotencyMismatch,
    BatchRejected,
}

/// Slug, status, title and the MQTT reason code that says the same, where one exists.
type Row = (&'static str, StatusCode, &'static str, Option<ReasonCode>);

impl Kind {
    pub(super) fn row(self) -> Row {
        use ReasonCode as R;
        use StatusCode as S;
        match self {
            Kind::TopicInvalid => (
                "topic-invalid",
                S::BAD_REQUEST,
                "Not a topic name",
                Some(R::TopicNameInvalid),
            ),
            Kind::FilterInvalid => (
                "filter-invalid",
                S::BAD_REQUEST,
                "Not a topic filter",
                Some(R::TopicFilterInvalid),
            ),
            Kind::ParameterInvalid => (
                "parameter-invalid",
                S::BAD_REQUEST,
                "An option is not valid",
                Some(R::ImplementationSpecificError),
            ),
            Kind::BodyInvalid => (
                "body-invalid",
                S::BAD_REQUEST,
                "The body is not valid",
                Some(R::MalformedPacket),
            ),
            Kind::RequestInvalid => (
                "request-invalid",
                S::BAD_REQUEST,
                "The request is not valid",
                None,
            ),
            Kind::UpgradeInvalid => (
                "upgrade-invalid",
                S::BAD_REQUEST,
                "The WebSocket handshake is not valid",
                None,
            ),
            Kind::NotAuthenticated => (
                "not-authenticated",
                S::UNAUTHORIZED,
                "It is not known who asks",
                Some(R::BadUserNameOrPassword),
            ),
            Kind::NotAuthorized => (
                "not-authorized",
                S::FORBIDDEN,
                "Not allowed",
                Some(R::NotAuthorized),
            ),
            Kind::TopicReserved => (
                "topic-reserved",
                S::FORBIDDEN,
                "The topic is the gateway's own",
                Some(R::NotAuthorized),
            ),
            Kind::NotSupported => (
                "not-supported",
                S::FORBIDDEN,
                "The operator switched this off",
                Some(R::ImplementationSpecificError),
            ),
            Kind::SharedSubCursor => (
                "shared-sub-cursor",
                S::BAD_REQUEST,
                "A shared subscription has no place in the log",
                Some(R::SharedSubscriptionsNotSupported),
            ),
            Kind::RetainUnsupported => (
                "retain-unsupported",
                S::UNPROCESSABLE_ENTITY,
                "Messages are not retained here",
                Some(R::RetainNotSupported),
            ),
            Kind::OriginRejected => (
                "origin-rejected",
                S::FORBIDDEN,
                "Web pages of this origin may not do this",
                None,
            ),
            Kind::NotFound => ("not-found", S::NOT_FOUND, "Nothing is here", None),
            Kind::NotRetained => (
                "not-retained",
                S::NOT_FOUND,
                "The topic has no retained message",
                None,
            ),
            Kind::MethodNotAllowed => (
                "method-not-allowed",
                S::METHOD_NOT_ALLOWED,
                "The resource has no such method",
                None,
            ),
            Kind::NotAcceptable => (
                "not-acceptable",
                S::NOT_ACCEPTABLE,
                "No offered media type is accepted",
                None,
            ),
            Kind::PreconditionFailed => (
                "precondition-failed",
                S::PRECONDITION_FAILED,
                "The state is not the expected one",
                None,
            ),
            Kind::PayloadTooLarge => (
                "payload-too-large",
                S::PAYLOAD_TOO_LARGE,
                "The payload is too large",
                Some(R::PacketTooLarge),
            ),
            Kind::UriTooLong => ("uri-too-long", S::URI_TOO_LONG, "The URI is too long", None),
            Kind::MediaTypeUnsupported => (
                "media-type-unsupported",
                S::UNSUPPORTED_MEDIA_TYPE,
                "The body's form is not supported",
                None,
            ),
            Kind::HostRejected => (
                "host-rejected",
                S::MISDIRECTED_REQUEST,
                "The gateway does not answer to this name",
                None,
            ),
            Kind::PayloadFormatInvalid => (
                "payload-format-invalid",
                S::UNPROCESSABLE_ENTITY,
                "The payload is not what it says it is",
                Some(R::PayloadFormatInvalid),
            ),
            Kind::IdempotencyInFlight => (
                "idempotency-in-flight",
                S::CONFLICT,
                "The same request is under way",
                None,
            ),
            Kind::IdempotencyMismatch => (
                "idempotency-mismatch",
                S::UNPROCESSABLE_ENTITY,
                "The key belongs to another request",
                None,
            ),
            Kind::BatchRejected => (
                "batch-rejected",
                S::UNPROCESSABLE_ENTITY,
                "A message of the batch cannot be published",
                None,
            ),
            Kind::UpgradeRequired => (
                "upgrade-required",
                S::UPGRADE_REQUIRED,
                "This is a WebSocket endpoint",
                None,
            ),
            Kind::HeadTooLarge => (
                "head-too-large",
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The request's headers are too large",
                None,
            ),
            Kind::QuotaExceeded => (
                "quota-exceeded",
                S::TOO_MANY_REQUESTS,
                "A quota is used up",
                Some(R::QuotaExceeded),
            ),
            Kind::Internal => (
                "internal",
                S::INTERNAL_SERVER_ERROR,
                "The gateway made a mistake",
                Some(R::UnspecifiedError),
            ),
            Kind::StorageUnavailable => (
                "storage-unavailable",
                S::SERVICE_UNAVAILABLE,
                "The message could not be stored",
                Some(R::QuotaExceeded),
            ),
            Kind::Overloaded => (
                "overloaded",
                S::SERVICE_UNAVAILABLE,
                "The gateway is busy",
                Some(R::ServerBusy),
            ),
            Kind::ShuttingDown => (
                "shutting-down",
                S::SERVICE_UNAVAILABLE,
                "The gateway is stopping",
                Some(R::ServerShuttingDown),
            ),
        }
    }

    /// The type's last part.
    pub fn slug(self) -> &'static str {
        self.row().0
    }

    /// The status it is answered with.
    pub fn status(self) -> StatusCode {
        self.row().1
    }

    /// The kind for people.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// The absolute URI that names the kind.
    pub fn type_uri(self) -> String {
        match self {
            // registered with IANA under its own address
            Kind::QuotaExceeded => {
                "https://iana.org/assignments/http-problem-types#quota-exceeded".to_owned()
            }
            kind => format!("{TYPE_BASE}{}", kind.slug()),
        }
    }

    /// The kind for a status that the framework chose.
    pub(super) fn of_status(status: StatusCode) -> Kind {
        match status {
            StatusCode::NOT_FOUND => Kind::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Kind::MethodNotAllowed,
            StatusCode::NOT_ACCEPTABLE => Kind::NotAcceptable,
            StatusCode::PAYLOAD_TOO_LARGE => Kind::PayloadTooLarge,
            StatusCode::URI_TOO_LONG => Kind::UriTooLong,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Kind::MediaTypeUnsupported,
            StatusCode::UPGRADE_REQUIRED => Kind::UpgradeRequired,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Kind::HeadTooLarge,
            status if status.is_client_error() => Kind::RequestInvalid,
            _ => Kind::Internal,
        }
    }
}
