//! Sets values beside the files, and takes them back: by command, and when their time is over.

use std::sync::Arc;
use std::time::Duration;

use super::control::Control;
use super::declarations::{self, Loaded};
use super::overrides::{self, Held, OVERRIDES_MAX};
use crate::actor::TaskContext;
use crate::api::{SetRefused, SetRequest};
use crate::base::time::Wall;
use crate::event::{Event, Override, OverrideEnd, OverrideEnded};
use crate::os::clock;
use crate::plan::Diff;

/// The longest until it is looked again whether something is over.
const LOOK: Duration = Duration::from_secs(30);

impl Control {
    /// Those in force.
    pub(super) async fn overrides(&self) -> Vec<Override> {
        self.loaded.lock().await.overrides.iter().map(|held| held.set.clone()).collect()
    }

    /// Sets and takes back. What is at fault changes nothing, nor does what cannot be written down.
    pub(super) async fn set(&self, request: SetRequest) -> Result<Diff, SetRefused> {
        let mut loaded = self.loaded.lock().await;
        let target = request.target.clone();
        if !overrides::is_known(&loaded.plan, &target) {
            return Err(SetRefused::NotFound(target));
        }
        if let Some(why) = request.values.iter().find_map(|(key, value)| overrides::fault(key, value)) {
            return Err(SetRefused::Bad(why));
        }
        let (now, mut list, mut ended) = (clock::wall(), loaded.overrides.clone(), Vec::new());
        let is_meant =
            |set: &Override| set.target == target && (request.unset.iter().any(|key| covers(key, &set.key)) || request.unset_all);
        if let Some(key) = request.unset.iter().find(|key| !list.iter().any(|held| held.set.target == target && covers(key, &held.set.key)))
        {
            return Err(SetRefused::Bad(format!("`{key}` of {target} is not set")));
        }
        take(&mut list, &mut ended, OverrideEnd::Unset, |held| is_meant(&held.set));
        take(&mut list, &mut ended, OverrideEnd::Replaced, |held| {
            held.set.target == target && request.values.iter().any(|(key, _)| covers(key, &held.set.key))
        });
        let until = request.duration.map(|duration| Wall(now.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))));
        let new: Vec<_> = request
            .values
            .into_iter()
            .map(|(key, value)| {
                let (target, reason) = (target.clone(), request.reason.clone());
                Override { target, key, value, set: now, until, uid: request.uid, reason }
            })
            .collect();
        list.extend(new.iter().cloned().map(Held::new));
        if list.len() > OVERRIDES_MAX {
            return Err(SetRefused::Bad(format!("more than {OVERRIDES_MAX} values would be set")));
        }
        let next = self.with(&loaded, list.clone()).await.map_err(SetRefused::Faulty)?;
        self.save(list).await.map_err(SetRefused::NotRemembered)?;
        new.into_iter().for_each(|set| self.context.bus.tell(Event::OverrideSet(set.told())));
        self.tell_ended(ended);
        self.wake.notify_one();
        Ok(self.apply(&mut loaded, next).await)
    }

    /// Takes back what is over; how long until the next one is, at most.
    async fn expire(&self) -> Duration {
        let mut loaded = self.loaded.lock().await;
        let (now, mut list, mut ended) = (clock::boottime(), loaded.overrides.clone(), Vec::new());
        take(&mut list, &mut ended, OverrideEnd::Expired, |held| held.is_over(now));
        if !ended.is_empty() {
            let targets: Vec<String> = ended.iter().map(|ended| ended.ended.target.clone()).collect();
            // What is left may not go without what is over: then that of the same target ends, too, and at last everything.
            let next = loop {
                match self.with(&loaded, list.clone()).await {
                    Ok(next) => break next,
                    Err(_) if list.is_empty() => return LOOK,
                    Err(_) => {
                        let before = list.len();
                        take(&mut list, &mut ended, OverrideEnd::Faulty, |held| targets.contains(&held.set.target));
                        if list.len() == before {
                            take(&mut list, &mut ended, OverrideEnd::Faulty, |_| true);
                        }
                    }
                }
            };
            if let Err(why) = self.save(list).await {
                tracing::error!("{why}; what is over stays so all the same");
            }
            self.tell_ended(ended);
            self.apply(&mut loaded, next).await;
        }
        let next = loaded.overrides.iter().filter_map(|held| held.ends).min();
        next.map_or(LOOK, |next| next.since(clock::boottime()).min(LOOK))
    }

    /// What was applied last, with another list.
    async fn with(&self, loaded: &Loaded, list: Vec<Held>) -> Result<Loaded, Box<crate::spec::Diagnostics>> {
        let (files, directories) = (loaded.files(), self.settings.directories.clone());
        let understood = tokio::task::spawn_blocking(move || declarations::with(files, list, &directories)).await;
        understood.unwrap_or_else(|_| Err(Box::default()))
    }

    async fn save(&self, list: Vec<Held>) -> Result<(), String> {
        let state = self.settings.directories.state.clone();
        let saved = tokio::task::spawn_blocking(move || overrides::save(&state, &list)).await;
        let saved = saved.map_err(|error| error.to_string()).and_then(|saved| saved.map_err(|error| error.to_string()));
        saved.map_err(|why| format!("cannot write down what is set: {why}"))
    }

    /// Those that the files leave nothing for are no longer in force.
    pub(super) async fn forget_strangers(&self, loaded: &mut Loaded) {
        let mut ended = Vec::new();
        let plan = loaded.plan.clone();
        take(&mut loaded.overrides, &mut ended, OverrideEnd::TargetGone, |held| !overrides::is_known(&plan, &held.set.target));
        if !ended.is_empty() {
            if let Err(why) = self.save(loaded.overrides.clone()).await {
                tracing::error!("{why}");
            }
            self.tell_ended(ended);
        }
    }

    fn tell_ended(&self, ended: Vec<OverrideEnded>) {
        for OverrideEnded { ended, why } in ended {
            self.context.bus.tell(Event::OverrideEnded(OverrideEnded { ended: ended.told(), why }));
        }
    }
}

/// Whether `key` is `other`, or a mapping above it.
fn covers(key: &str, other: &str) -> bool {
    other.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn take(list: &mut Vec<Held>, ended: &mut Vec<OverrideEnded>, why: OverrideEnd, is_meant: impl Fn(&Held) -> bool) {
    ended.extend(list.extract_if(.., |held| is_meant(held)).map(|held| OverrideEnded { ended: held.set, why }));
}

/// Takes back what is over, until the daemon ends.
pub(super) async fn run(task: TaskContext, control: Arc<Control>) -> Result<(), crate::actor::BoxError> {
    loop {
        let next = control.expire().await;
        tokio::select! {
            () = task.shutdown_requested() => return Ok(()),
            () = control.wake.notified() => {}
            () = tokio::time::sleep(next) => {}
        }
    }
}
