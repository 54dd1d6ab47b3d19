//! How texts look in the `OpenAPI` document: stand-ins for types of the domain, which knows of no schemas.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $($json:tt)+) => {
        $(#[$doc])*
        pub(crate) enum $name {}

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", $($json)+ })
            }
        }
    };
}

text!(
    /// A user's own name or id of a thing.
    Uid, "minLength": 1, "maxLength": 256, "pattern": r"^[a-zA-Z0-9\-_.]+$"
);
text!(
    /// The name of an event type, of a group of them, or of a feature.
    Name, "maxLength": 256, "pattern": r"^[a-zA-Z0-9\-_.]+$"
);
text!(
    /// An attempt's id.
    AttemptId, "pattern": "^atmpt_[A-Za-z0-9]{27}$"
);
text!(
    /// A channel.
    Channel, "maxLength": 128, "pattern": r"^[a-zA-Z0-9\-_.:+]+$"
);
text!(
    /// A tag.
    Tag, "maxLength": 128, "pattern": r"^[a-zA-Z0-9\-_./\\#]+$"
);
text!(
    /// A signing secret.
    Secret, "pattern": "^(whsec_|whsk_)?[a-zA-Z0-9+/=]{32,100}$"
);
text!(
    /// Who moves along an endpoint's deliveries.
    Mode, "enum": ["push", "pull", "held"]
);
text!(
    /// Where a consumer begins that is new.
    StartingPosition, "enum": ["earliest", "latest"]
);
text!(
    /// Which way a list goes.
    Ordering, "enum": ["ascending", "descending"]
);
text!(
    /// How something stands.
    StatusText, "enum": ["success", "pending", "fail", "sending", "canceled"]
);
