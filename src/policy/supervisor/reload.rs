//! A supervisor takes over new specifications while it runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::child::{ChildSpec, Goal, Standing};
use super::core::Supervisor;
use super::request::{Reply, RequestId};
use super::{Effect, Flags, StartCause};

impl Supervisor {
    pub(super) fn reload(&mut self, id: RequestId, flags: Flags, children: Vec<ChildSpec>, restart: &[Arc<str>], out: &mut Vec<Effect>) {
        self.flags = flags;
        let kept: BTreeSet<_> = children.iter().map(|spec| spec.id.clone()).collect();
        for key in self.in_order() {
            if !kept.contains(&self.children[&key].spec.id) {
                self.change(key, |child| child.goal = Goal::Remove);
                self.forget_if_removed(key, out);
            }
        }
        let mut keys = Vec::with_capacity(children.len());
        for (order, spec) in (0..).zip(children) {
            let name = spec.id.clone();
            let key = self.ids.get(&name).copied().unwrap_or_else(|| self.add(spec.clone()));
            self.change(key, |child| {
                child.order = order;
                let held = child.spec.held;
                child.spec = ChildSpec { held, ..spec };
                if child.goal == Goal::Remove {
                    child.goal = Goal::Run;
                    child.cause = StartCause::Request;
                }
                if restart.contains(&name) {
                    child.cycle = matches!(child.standing, Standing::Starting | Standing::Up);
                    child.gave_up = None;
                    child.goal = Goal::Run;
                    child.cause = StartCause::Request;
                    child.free = true;
                }
            });
            keys.push((name, key));
        }
        self.next_order = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        out.push(Effect::Reply(id, Reply::Reloaded(keys)));
    }
}
