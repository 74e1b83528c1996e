//! From declarations to a plan: defaults filled in, names resolved, instances made, paths absolute.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::choice::{OnLauncherDeath, OnRootFailure};
use crate::base::id::{SupervisorId, UnitId};
use crate::spec::daemon::{DaemonSpec, Listen};
use crate::spec::supervisor::SupervisorSpec;
use crate::spec::unit::UnitSpec;
use crate::spec::{Declared, Diagnostic, Diagnostics, Field, SourceFile, Span, code};

use super::aggregation::{aggregation, check_aggregation};
use super::degradation::degradation;
use super::guard::check_tier;
use super::limits::{check_limits, supervisors_limits};
use super::model::{Child, DaemonPlan, Plan, RestartBudget, SupervisorPlan, UnitPlan};
use super::order::{Dependencies, instances, order, start_order};
use super::significant::check_significant;
use super::tree::{Item, ROOT, Tree};
use super::unit::unit_plan;

/// How many unit instances one daemon takes.
pub const UNITS_MAX: usize = 100_000;

const DEFAULT_INTENSITY: u32 = 5;
pub(super) const DEFAULT_PERIOD: Duration = Duration::from_secs(60);
const DEFAULT_BUDGET_PERIOD: Duration = Duration::from_secs(10);
const DEFAULT_START_LIMIT: u32 = 64;
const DEFAULT_LOGS_TOTAL: u64 = 4 << 30;

/// Makes a plan of declarations that were read from `directory`, an absolute path.
///
/// There is a plan only if nothing at all is wrong. The diagnostics hold those of the declarations too, sorted by place.
#[must_use]
pub fn resolve(declared: &Declared, directory: &Path) -> (Option<Plan>, Diagnostics) {
    let mut out = declared.diagnostics.clone();
    if declared.is_empty() {
        if !declared.incomplete {
            report_empty(directory, &mut out);
        }
        return (None, out);
    }
    let mut tree = Tree::build(declared, &mut out);
    let dependencies = order(&mut tree, &mut out);
    check_count(declared, &mut out);
    check_significant(&tree, &mut out);
    check_aggregation(&tree, &mut out);
    check_limits(&tree, &mut out);
    check_tier(declared, &mut out);
    out.sort();
    let plan = (out.is_empty() && !declared.incomplete).then(|| Plan {
        directory: directory.to_path_buf(),
        root: ROOT.into(),
        supervisors: supervisors(&tree),
        units: units(declared, &dependencies, directory),
        daemon: daemon(&declared.daemon, directory),
    });
    (plan, out)
}

/// The value of a field, or what is assumed without it.
pub(super) fn or<T, U>(field: &Field<T>, assumed: U, value: impl FnOnce(&T) -> U) -> U {
    field.as_ref().map_or(assumed, |field| value(&field.value))
}

fn report_empty(directory: &Path, out: &mut Diagnostics) {
    let file = out.add_source(SourceFile { path: directory.display().to_string(), text: String::new() });
    let fault = Diagnostic::new(code::EMPTY, Span::whole(file), "the directory holds no declarations");
    out.push(fault.help("declare a unit in `units/NAME.yaml`, for example `unit: web` with `exec: [\"./web\"]`"));
    out.sort();
}

fn check_count(declared: &Declared, out: &mut Diagnostics) {
    let mut total = 0;
    for spec in &declared.units {
        total += or(&spec.instances, 1, |count| count.to_u32() as usize);
        if total > UNITS_MAX {
            let span = spec.unit.as_ref().map_or_else(Span::default, |unit| unit.span);
            out.push(Diagnostic::new(code::TOO_MANY_UNITS, span, format!("there are more than {UNITS_MAX} units and instances")));
            return;
        }
    }
}

fn supervisors(tree: &Tree<'_>) -> BTreeMap<SupervisorId, Arc<SupervisorPlan>> {
    // Without a declaration of its own the root is like any supervisor of which only the name is given.
    let implied = SupervisorSpec::default();
    let declared = tree.items.iter().filter_map(|(name, item)| if let Item::Supervisor(spec) = item { Some((*name, *spec)) } else { None });
    let implied_root = (!tree.items.contains_key(ROOT)).then_some((ROOT, &implied));
    let mut limits = supervisors_limits(tree);
    declared
        .chain(implied_root)
        .map(|(name, spec)| {
            let plan = SupervisorPlan {
                id: name.into(),
                description: spec.description.as_ref().map(|text| text.value.0.clone()),
                strategy: or(&spec.strategy, Default::default(), |strategy| strategy.0),
                intensity: or(&spec.intensity, DEFAULT_INTENSITY, |intensity| intensity.to_u32()),
                period: or(&spec.period, DEFAULT_PERIOD, |period| period.0),
                retry_after: spec.retry_after.as_ref().map(|time| time.0),
                restart: or(&spec.restart, Default::default(), |restart| restart.0),
                auto_shutdown: or(&spec.auto_shutdown, Default::default(), |choice| choice.0),
                significant: or(&spec.significant, false, |flag| flag.0),
                health: aggregation(&spec.health),
                limits: limits.remove(name).unwrap_or_default(),
                shutdown: or(&spec.shutdown, None, |shutdown| shutdown.0),
                start: start_order(spec),
                children: children(tree, name),
            };
            (plan.id.clone(), Arc::new(plan))
        })
        .collect()
}

fn children(tree: &Tree<'_>, supervisor: &str) -> Vec<Child> {
    let mut children = Vec::new();
    for name in tree.children.get(supervisor).into_iter().flatten() {
        match tree.items.get(name) {
            Some(Item::Unit(spec)) => children.extend(instances(spec).map(|(id, _)| Child::Unit(id))),
            Some(Item::Supervisor(_)) => children.push(Child::Supervisor((*name).into())),
            None => {}
        }
    }
    children
}

fn units(declared: &Declared, dependencies: &BTreeMap<&str, Dependencies>, directory: &Path) -> BTreeMap<UnitId, Arc<UnitPlan>> {
    let none = Dependencies::default();
    let of = |spec: &UnitSpec| spec.unit.as_ref().and_then(|unit| dependencies.get(unit.0.as_str()));
    let plans = declared.units.iter().flat_map(|spec| {
        let dependencies = of(spec).unwrap_or(&none);
        instances(spec).map(move |(id, instance)| (id.clone(), Arc::new(unit_plan(spec, id, instance, dependencies, directory))))
    });
    plans.collect()
}

fn daemon(spec: &DaemonSpec, directory: &Path) -> DaemonPlan {
    DaemonPlan {
        tier: spec.tier.as_ref().map(|tier| tier.0),
        listen: or(&spec.listen, Listen::default().0, |listen| listen.0),
        start_limit: or(&spec.start_limit, DEFAULT_START_LIMIT, |limit| limit.to_u32()) as usize,
        restart_budget: spec.restart_budget.as_ref().map(|budget| RestartBudget {
            // Without it there is a diagnostic.
            restarts: or(&budget.restarts, 1, |restarts| restarts.to_u32()),
            period: or(&budget.period, DEFAULT_BUDGET_PERIOD, |period| period.0),
        }),
        on_root_failure: or(&spec.on_root_failure, OnRootFailure::default(), |choice| choice.0),
        on_launcher_death: or(&spec.on_launcher_death, OnLauncherDeath::default(), |choice| choice.0),
        degradation: spec.degradation.as_ref().map(|spec| Arc::new(degradation(&spec.value))),
        scripts: absolute(directory, &or(&spec.scripts, "scripts".into(), |path| path.0.clone())),
        logs_max_total: spec.logs.as_ref().map_or(DEFAULT_LOGS_TOTAL, |logs| or(&logs.max_total, DEFAULT_LOGS_TOTAL, |size| size.0)),
    }
}

/// `path` relative to `directory`, without `.` in it.
pub(super) fn absolute(directory: &Path, path: &str) -> PathBuf {
    directory.join(path).components().collect()
}

#[cfg(test)]
mod tests {
    use crate::plan::{Growth, ReadinessKind, ShutdownTimeout};
    use crate::spec::{parse, schema};

    use super::*;

    fn file(path: &str, text: impl Into<String>) -> SourceFile {
        SourceFile { path: path.into(), text: text.into() }
    }

    fn plan(files: Vec<SourceFile>) -> Plan {
        let (plan, faults) = resolve(&parse(files), Path::new("/etc/ms"));
        plan.unwrap_or_else(|| panic!("{faults}"))
    }

    fn codes(units: &str, supervisors: &str) -> Vec<&'static str> {
        let declared = parse(vec![file("supervisors/s.yaml", supervisors), file("units/u.yaml", units)]);
        resolve(&declared, Path::new("/etc/ms")).1.iter().map(|fault| fault.code).collect()
    }

    /// The defaults a schema promises, as a YAML document (JSON is YAML).
    fn defaults(schema: &serde_json::Value, required: &serde_json::Value) -> String {
        let properties = schema["properties"].as_object().unwrap();
        let mut document = required.as_object().unwrap().clone();
        document.extend(properties.iter().filter_map(|(key, property)| Some((key.clone(), property.get("default")?.clone()))));
        serde_json::to_string(&document).unwrap()
    }

    #[test]
    fn promised_defaults_are_those_applied() {
        use serde_json::json;
        let minimal = plan(vec![file("supervisors/s.yaml", "supervisor: root\nchildren: a"), file("units/u.yaml", "unit: a\nexec: x")]);
        let unit = schema::unit();
        let mut explicit = vec![
            file("supervisors/s.yaml", defaults(&schema::supervisor(), &json!({"supervisor": "root", "children": "a"}))),
            file("units/u.yaml", defaults(&unit, &json!({"unit": "a", "exec": "x"}))),
            file("daemon.yaml", defaults(&schema::daemon(), &json!({}))),
        ];
        assert_eq!(plan(explicit.clone()), minimal);
        // The mappings behind short forms, too.
        let mapping =
            |schema: &serde_json::Value| schema["anyOf"].as_array().unwrap().iter().find(|one| one["type"] == "object").unwrap().clone();
        let restart = mapping(&unit["properties"]["restart"]);
        let mut backoff: serde_json::Value =
            serde_json::from_str(&defaults(&mapping(&restart["properties"]["backoff"]), &json!({}))).unwrap();
        for other_kinds in ["step", "memory", "cost"] {
            backoff.as_object_mut().unwrap().remove(other_kinds);
        }
        let inner = |key: &str| defaults(&mapping(&unit["properties"][key]), &json!({}));
        explicit[1].text = format!(
            "unit: a\nexec: x\nrestart: {{type: permanent, backoff: {backoff}}}\nlogs: {}\nshutdown: {}\n",
            inner("logs"),
            inner("shutdown")
        );
        assert_eq!(plan(explicit), minimal);
    }

    #[test]
    fn instances_expand() {
        let text = "unit: web\ninstances: 3\nexec: [./web, '%i', '%n', '100%%']\nworking_directory: run/%i\n\
                    environment: {PORT: 80%i}\nenvironment_file: [-env.%i, /e]\nreadiness: {tcp: 'localhost:80%i'}\n";
        let plan = plan(vec![file("units/u.yaml", text)]);
        let web = &plan.units["web@2"];
        assert_eq!(web.exec, ["./web", "2", "web@2", "100%"]);
        assert_eq!(web.working_directory, Path::new("/etc/ms/run/2"));
        assert_eq!(web.environment["PORT"], "802");
        let files: Vec<_> = web.environment_files.iter().map(|file| (file.path.to_str().unwrap(), file.optional)).collect();
        assert_eq!(files, [("/etc/ms/env.2", true), ("/e", false)]);
        assert_eq!(web.readiness.kind, ReadinessKind::Tcp("localhost:802".into()));
        let children: Vec<_> = plan.supervisors["root"].children.iter().map(Child::as_str).collect();
        assert_eq!(children, ["web@1", "web@2", "web@3"]);
    }

    #[test]
    fn dependencies_expand() {
        let units = "unit: a\nexec: x\nrequires: [stores, web, redis]\nwants: web@2\n---\nunit: redis\nexec: x\n---\nunit: web\nexec: x\ninstances: 2\n";
        let supervisors =
            "supervisor: s\nchildren: [a, web]\n---\nsupervisor: stores\nchildren: inner\n---\nsupervisor: inner\nchildren: redis\n";
        let plan = plan(vec![file("supervisors/s.yaml", supervisors), file("units/u.yaml", units)]);
        let names = |ids: &[UnitId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&plan.units["a"].requires), ["redis", "web@1", "web@2"]);
        assert_eq!(names(&plan.units["a"].wants), ["web@2"]);
        let tops: Vec<_> = plan.supervisors["root"].children.iter().map(Child::as_str).collect();
        assert_eq!(tops, ["s", "stores"]);
    }

    #[test]
    fn settings_arrive() {
        let text = "unit: a\nexec: x\nrestart: {type: transient, backoff: {kind: linear, step: 2s}}\nshutdown: brutal_kill\n";
        let plan = plan(vec![
            file("units/u.yaml", text),
            file(
                "daemon.yaml",
                "listen: none\nstart_limit: 3\nrestart_budget: {restarts: 7}\non_root_failure: exit\non_launcher_death: stop",
            ),
        ]);
        let unit = &plan.units["a"];
        assert_eq!(unit.restart.backoff.growth, Growth::Linear { base: Duration::from_millis(200), step: Duration::from_secs(2) });
        assert_eq!(unit.shutdown.timeout, ShutdownTimeout::BrutalKill);
        assert_eq!(
            plan.daemon,
            DaemonPlan {
                tier: None,
                listen: None,
                start_limit: 3,
                restart_budget: Some(RestartBudget { restarts: 7, period: Duration::from_secs(10) }),
                on_root_failure: OnRootFailure::Exit,
                on_launcher_death: OnLauncherDeath::Stop,
                degradation: None,
                scripts: "/etc/ms/scripts".into(),
                logs_max_total: 4 << 30
            }
        );
    }

    #[test]
    fn ordered_supervisors_take_part_in_deadlocks() {
        let units = "unit: a\nexec: x\nafter: b\n---\nunit: b\nexec: x\n";
        assert_eq!(codes(units, "supervisor: s\nstart: ordered\nchildren: [a, b]"), [code::DEADLOCK]);
        assert_eq!(codes(units, "supervisor: s\nstart: ordered\nchildren: [b, a]"), [""; 0]);
        assert_eq!(codes(units, "supervisor: s\nchildren: [a, b]"), [""; 0]);
        let nested = "supervisor: root\nstrategy: rest_for_one\nchildren: [s, t]\n---\nsupervisor: s\nchildren: a\n---\nsupervisor: t\nchildren: b\n";
        assert_eq!(codes(units, nested), [code::DEADLOCK]);
    }

    #[test]
    fn what_could_not_be_read_may_hold_unknown_names() {
        assert_eq!(codes("unit: a\nexec: x\nrequires: b\n---\n'", ""), [code::SYNTAX]);
        assert_eq!(codes("unit: a\nexec: x\nrequires: b\n---\nunit: b c\nexec: x\n", ""), [code::BAD_NAME]);
        assert_eq!(codes("", ""), [code::EMPTY]);
    }

    #[test]
    fn sizes_are_bounded() {
        let many = |extra: &str| -> String {
            let mut text = String::new();
            for number in 0..11 {
                text.push_str(&format!("---\nunit: u{number}\nexec: x\ninstances: 10000\n{}\n", if number == 0 { "" } else { extra }));
            }
            text
        };
        assert_eq!(codes(&many(""), ""), [code::TOO_MANY_UNITS]);
        assert!(codes(&many("requires: u0"), "").contains(&code::TOO_MANY_DEPENDENCIES));
    }
}
