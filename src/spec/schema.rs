//! JSON Schema of the declarations, for editors; made from the same definitions as the decoder.
//!
//! Draft 7, with everything inline: that is what yaml-language-server and its kin understand best.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::daemon::DaemonSpec;
use super::decode::Key;
use super::supervisor::SupervisorSpec;
use super::unit::UnitSpec;

/// The schema of a document in `units/`.
#[must_use]
pub fn unit() -> Value {
    root::<UnitSpec>("ms-supervisor unit")
}

/// The schema of a document in `supervisors/`.
#[must_use]
pub fn supervisor() -> Value {
    root::<SupervisorSpec>("ms-supervisor supervisor")
}

/// The schema of `daemon.yaml`.
#[must_use]
pub fn daemon() -> Value {
    root::<DaemonSpec>("ms-supervisor daemon settings")
}

/// The schema of a document in `conf.d/`: what it amends, and the keys that change. Nothing (`null`) takes a key back.
#[must_use]
pub fn drop_in() -> Value {
    let amends = |schema: Value, selector: &str| {
        let mut schema = amended(&schema);
        if let Some(object) = schema.as_object_mut() {
            object.remove("$schema");
            object.remove("title");
        }
        // A mapping is said of each probe.
        let variants = schema.pointer_mut("/properties/probes/anyOf").and_then(Value::as_array_mut);
        if let Some(variants) = variants {
            let each = variants.first().and_then(|list| list.get("items")).map(amended);
            variants.extend(each);
        }
        if !selector.is_empty() {
            let description = "Whom it amends: a name, or a pattern such as `web-*`.";
            schema["properties"][selector] = json!({"type": ["string", "integer"], "description": description});
            schema["required"] = json!([selector]);
        }
        schema
    };
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#", "title": "ms-supervisor drop-in",
        "anyOf": [amends(unit(), "unit"), amends(supervisor(), "supervisor"), amends(daemon(), "")],
    })
}

/// The schema of a document in `health-checks.yaml`.
#[must_use]
pub fn health_checks() -> Value {
    let whole = unit();
    let whose = |what: &str| json!({"type": ["string", "integer"], "description": what});
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#", "title": "ms-supervisor health checks",
        "type": "object", "additionalProperties": false,
        "properties": {
            "unit": whose("The unit, or a pattern such as `web-*`."),
            "supervisor": whose("All units below this supervisor."),
            "probes": whole["properties"]["probes"],
            "watchdog": whole["properties"]["watchdog"],
        },
        "oneOf": [{"required": ["unit"]}, {"required": ["supervisor"]}],
    })
}

/// A mapping of which only the keys that change are given, and any may be nothing.
fn amended(schema: &Value) -> Value {
    let mut schema = schema.clone();
    let Some(object) = schema.as_object_mut() else { return schema };
    object.remove("required");
    // What has to be there of a whole document; the words of a choice stay.
    if object.get("oneOf").and_then(Value::as_array).is_some_and(|rules| rules.iter().all(|rule| rule.get("required").is_some())) {
        object.remove("oneOf");
    }
    for property in object.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        *property = json!({"anyOf": [amended(property), {"type": "null"}]});
    }
    // Names that are not known in advance can be taken back, too.
    if let Some(any) = object.get_mut("additionalProperties").filter(|any| any.is_object()) {
        *any = json!({"anyOf": [any.clone(), {"type": "null"}]});
    }
    for pattern in object.get_mut("patternProperties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        *pattern = json!({"anyOf": [pattern.clone(), {"type": "null"}]});
    }
    for variant in object.get_mut("anyOf").and_then(Value::as_array_mut).into_iter().flatten() {
        *variant = amended(variant);
    }
    schema
}

fn root<T: JsonSchema>(title: &str) -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = SchemaGenerator::new(settings).into_root_schema_for::<T>();
    schema.insert("title".into(), title.into());
    schema.to_value()
}

/// The schema of a field: that of its type, with description and default.
pub(crate) fn property(mut schema: Schema, doc: &str, default: Option<Value>) -> Value {
    schema.insert("description".into(), doc.trim().into());
    if let Some(default) = default {
        schema.insert("default".into(), default);
    }
    schema.to_value()
}

/// The schema of a mapping with exactly these keys.
pub(crate) fn object(about: &str, properties: Map<String, Value>, keys: &[Key]) -> Schema {
    let required: Vec<_> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut schema = json!({"type": "object", "description": about.trim(), "additionalProperties": false, "properties": properties});
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    Schema::try_from(schema).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every mapping in `schema`, with the keys that lead to it.
    fn mappings(schema: &Value, path: &str, out: &mut Vec<(String, Value)>) {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            assert_eq!(schema["additionalProperties"], false, "{path}");
            for (key, property) in properties {
                out.push((format!("{path}.{key}"), property.clone()));
                mappings(property, &format!("{path}.{key}"), out);
            }
        }
        for variant in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
            mappings(variant, path, out);
        }
    }

    #[test]
    fn every_key_is_described() {
        let mut keys = Vec::new();
        for (name, schema) in [("unit", unit()), ("supervisor", supervisor()), ("daemon", daemon())] {
            assert!(schema["title"].is_string() && schema["$schema"].is_string());
            mappings(&schema, name, &mut keys);
        }
        for (path, property) in &keys {
            assert!(property["description"].as_str().is_some_and(|text| text.len() > 10), "{path} has no description");
        }
        let paths: Vec<_> = keys.iter().map(|(path, _)| path.as_str()).collect();
        for known in
            ["unit.exec", "unit.restart.type", "unit.restart.backoff.jitter", "unit.logs.keep", "supervisor.children", "daemon.listen"]
        {
            assert!(paths.contains(&known), "{known} is missing in {paths:?}");
        }
    }
}
