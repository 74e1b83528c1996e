//! What the live graph is made of: looked up when somebody asks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::context::Context;
use crate::os::foreign::{self, Purpose, Table, doing};
use crate::os::sockets::{self, Roots, Seen, UnitProcesses};
use crate::os::systemd::{self, Answer, Place};
use crate::plan::Facts;

/// How long processes may take to be looked at.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// What was found out.
#[derive(Debug, Default)]
pub struct Found {
    /// For the graph.
    pub facts: Facts,
    /// The units of systemd that are to be stopped, by the names they were asked for, with what they are called; those that do not exist are missing.
    pub named: BTreeMap<String, String>,
}

/// Looks at processes and sockets, and asks systemd about its units around ours. With `stopped` it is asked about those, too, and about
/// whatever it would stop with them and with ours.
pub async fn find(context: &Context, stopped: Option<&BTreeSet<String>>) -> Found {
    let roots = roots(context);
    let looked = foreign::look((Purpose::Other, Table::Own), "sockets of this machine", LOOK_WITHIN, move || {
        doing(format_args!("looking at processes and sockets"));
        sockets::look(&roots)
    });
    let looked = looked.await;
    let Seen { place, service, homes, sockets, mut notes } =
        looked.unwrap_or_else(|fault| Seen { notes: vec![format!("sockets: cannot be looked at: {fault}")], ..Seen::default() });
    let own = service.iter().chain(homes.values().flatten());
    let names: BTreeSet<String> = own.chain(stopped.into_iter().flatten()).cloned().collect();
    let place = place.unwrap_or(Place::System);
    let answer = if names.is_empty() && systemd::is_there() {
        Err("neither the daemon nor a unit runs in one of its units".into())
    } else {
        context.dependencies.ask(place, &names, stopped.is_some()).await
    };
    let Answer { units, states, ids, is_cut } = answer.unwrap_or_else(|why| {
        notes.push(format!("systemd: not asked: {why}"));
        Answer::default()
    });
    if is_cut {
        notes.push(format!("systemd: only {} units were looked at", units.len()));
    }
    let exists: BTreeSet<&String> = units.iter().filter(|unit| unit.exists).map(|unit| &unit.name).collect();
    let mut named = ids;
    named.retain(|name, id| exists.contains(id) && stopped.is_some_and(|stopped| stopped.contains(name)));
    Found { facts: Facts { service, homes, systemd: units, states, sockets, notes }, named }
}

/// Where the processes of units are found.
fn roots(context: &Context) -> Roots {
    let mut cgroups: BTreeMap<String, _> = context.limits.cgroups().into_iter().collect();
    let mut found = context.searches.found();
    let mut units = Vec::new();
    context.view.each_unit(|unit| {
        let pids = if unit.watch.is_some() { found.remove(&unit.unit).unwrap_or_default() } else { unit.pid.into_iter().collect() };
        let cgroup = cgroups.remove(unit.unit.as_str());
        if cgroup.is_some() || !pids.is_empty() {
            units.push(UnitProcesses { unit: unit.unit.clone(), pids, cgroup });
        }
    });
    Roots { launcher: context.searches.launcher(), units }
}
