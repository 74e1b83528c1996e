//! An event on its way out: CloudEvents 1.0 in JSON (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).

use serde::{Deserialize, Serialize};

use super::Event;
use crate::base::time::Wall;

/// An event with its place in the node's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "CloudEvent", try_from = "CloudEvent")]
pub struct Envelope {
    /// Contiguous from 1; a gap means that something was lost.
    pub sequence: u64,
    /// When it happened.
    pub time: Wall,
    /// What happened.
    pub event: Event,
}

/// The wire form.
#[derive(Serialize, Deserialize)]
struct CloudEvent {
    specversion: String,
    id: String,
    source: String,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    subject: Option<String>,
    sequence: u64,
    datacontenttype: String,
    #[serde(flatten)]
    event: Event,
}

impl From<Envelope> for CloudEvent {
    fn from(envelope: Envelope) -> Self {
        Self {
            specversion: "1.0".into(),
            id: envelope.sequence.to_string(),
            source: "/ms-supervisor".into(),
            time: envelope.time.to_string(),
            subject: envelope.event.subject().map(str::to_owned),
            sequence: envelope.sequence,
            datacontenttype: "application/json".into(),
            event: envelope.event,
        }
    }
}

impl TryFrom<CloudEvent> for Envelope {
    type Error = String;

    fn try_from(event: CloudEvent) -> Result<Self, String> {
        let time: jiff::Timestamp = event.time.parse().map_err(|error| format!("`time`: {error}"))?;
        Ok(Self { sequence: event.sequence, time: Wall(time.as_millisecond()), event: event.event })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::exit::{ExitCause, Usage};

    #[test]
    fn events_survive_the_journey() {
        let event = Event::UnitExited {
            run: 3,
            unit: "redis".into(),
            pid: 7,
            cause: ExitCause::Code(1),
            expected: false,
            after: std::time::Duration::from_millis(1500),
            usage: Usage::default(),
        };
        for event in [event, Event::EventsDropped { count: 3 }] {
            let envelope = Envelope { sequence: 42, time: Wall(1_700_000_000_123), event };
            let text = serde_json::to_string(&envelope).unwrap();
            assert_eq!(serde_json::from_str::<Envelope>(&text).unwrap(), envelope, "{text}");
        }
    }
}
