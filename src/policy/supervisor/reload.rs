//! A supervisor takes over new specifications while it runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::child::{ChildKey, ChildSpec, Goal, Standing};
use super::core::Supervisor;
use super::request::{Reply, RequestError};
use super::spec::check;
use super::{Effect, Flags, StartCause};

impl Supervisor {
    /// Takes over flags and children, starts what is new and stops what is missing.
    pub(super) fn reload(&mut self, flags: Flags, children: Vec<ChildSpec>, restart: &[Arc<str>], out: &mut Vec<Effect>) -> Reply {
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
        Reply::Reloaded(keys)
    }

    /// OTP's code change: what runs runs on, under the new flags and specifications; a faulty change changes nothing.
    pub(super) fn change_specs(&mut self, flags: Flags, children: Vec<ChildSpec>) -> Result<Option<Reply>, RequestError> {
        if flags.dynamic != self.flags.dynamic {
            return Err(RequestError::Dynamic);
        }
        check(&flags, &children)?;
        self.flags = flags;
        let named: BTreeSet<_> = children.iter().map(|spec| spec.id.clone()).collect();
        let missing = |key: &ChildKey| !named.contains(&self.children[key].spec.id);
        let missing: Vec<_> = self.in_order().into_iter().filter(missing).collect();
        let mut keys = Vec::with_capacity(children.len());
        for spec in children {
            let name = spec.id.clone();
            let key = self.ids.get(&name).copied().unwrap_or_else(|| {
                let key = self.add(spec.clone());
                self.change(key, |child| child.goal = Goal::Rest);
                key
            });
            self.change(key, |child| child.spec = spec);
            keys.push((name, key));
        }
        let order: Vec<_> = keys.iter().map(|(_, key)| *key).chain(missing).collect();
        self.next_order = u32::try_from(order.len()).unwrap_or(u32::MAX);
        for (place, key) in (0..).zip(order) {
            self.change(key, |child| child.order = place);
        }
        Ok(Some(Reply::Reloaded(keys)))
    }
}
