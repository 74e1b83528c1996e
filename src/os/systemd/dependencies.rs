//! Who needs whom among systemd's units, in both directions: asked when somebody wants to know, kept until systemd says that something is different.
//!
//! While nobody asks there is no connection: systemd tells of every unit of the machine to whoever has subscribed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use zbus::message::Type;
use zbus::zvariant::{OwnedObjectPath, OwnedValue};
use zbus::{Connection, MatchRule, Message, MessageStream, Proxy};

use super::{MANAGER, PATIENCE, Place, SERVICE, is_there};
use crate::plan::SystemdUnit;

/// How long it is listened to systemd after somebody has asked.
const LINGER: Duration = Duration::from_secs(300);

/// The most units that are looked at for one answer. What is beyond is not followed, and said.
const UNITS_MAX: usize = 512;

const UNIT: &str = "org.freedesktop.systemd1.Unit";

/// What systemd says to a name that no unit can have.
const INVALID: &str = "org.freedesktop.DBus.Error.InvalidArgs";

/// What the manager tells when units come, go or change what they depend on, and when what it was told to do is done.
const NEWS: [&str; 4] = ["UnitNew", "UnitRemoved", "JobRemoved", "Reloading"];

/// A unit as `ListUnitsByNames` has it: name, description, three states, whom it follows, path, job.
type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// Asks systemd, and knows what it has said.
#[derive(Debug, Default)]
pub struct Dependencies(Arc<tokio::sync::Mutex<Option<Session>>>);

/// What systemd says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The units that were asked for, and those that would be stopped with them if that was asked, too.
    pub units: Vec<SystemdUnit>,
    /// The state of each unit around those, by name.
    pub states: BTreeMap<String, String>,
    /// What each unit that was asked for is called (`Id`).
    pub ids: BTreeMap<String, String>,
    /// There were too many to look at.
    pub is_cut: bool,
}

impl Dependencies {
    /// What systemd says of `names`; with `stopped`, also of whatever it would stop with them, and with those.
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub async fn ask(&self, place: Place, names: &BTreeSet<String>, stopped: bool) -> Result<Answer, String> {
        if !is_there() {
            return Err("systemd does not run this machine".into());
        }
        let asked = tokio::time::timeout(PATIENCE, self.ask_session(place, names, stopped)).await;
        let asked = asked.map_err(|_| format!("it has not answered within {} s", PATIENCE.as_secs()));
        let answer = asked.and_then(|answer| answer.map_err(|error| error.to_string()));
        if answer.is_err() {
            // The next one begins anew. If somebody else asks at this moment, that finds the same fault.
            if let Ok(mut session) = self.0.try_lock() {
                *session = None;
            }
        }
        answer
    }

    async fn ask_session(&self, place: Place, names: &BTreeSet<String>, stopped: bool) -> zbus::Result<Answer> {
        let mut slot = self.0.lock().await;
        if slot.as_ref().is_none_or(|session| session.place != place || session.listener.is_finished()) {
            *slot = Some(Session::open(place, &self.0).await?);
        }
        match slot.as_mut() {
            Some(session) => session.answer(names, stopped).await,
            None => Ok(Answer::default()),
        }
    }
}

/// A connection, what came by it, and who listens on it.
#[derive(Debug)]
struct Session {
    place: Place,
    bus: Connection,
    heard: Arc<Heard>,
    /// How much was heard when what is known was asked.
    at: u64,
    units: BTreeMap<String, SystemdUnit>,
    states: BTreeMap<String, String>,
    listener: JoinHandle<()>,
}

/// What was heard from systemd.
#[derive(Debug, Default)]
struct Heard {
    /// How often something has changed.
    changes: AtomicU64,
    /// The paths of the units that somebody knows something about.
    paths: Mutex<BTreeSet<String>>,
    /// Somebody has asked.
    asked: Notify,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Session {
    async fn open(place: Place, slot: &Arc<tokio::sync::Mutex<Option<Self>>>) -> zbus::Result<Self> {
        let bus = match place {
            Place::System => Connection::system().await?,
            Place::User(_) => Connection::session().await?,
        };
        let rule = MatchRule::builder().msg_type(Type::Signal).sender(SERVICE)?.path_namespace(MANAGER)?.build();
        let news = MessageStream::for_match_rule(rule, &bus, None).await?;
        let _nothing: () = manager(&bus).await?.call("Subscribe", &()).await?;
        let heard = Arc::<Heard>::default();
        let listener = tokio::spawn(listen(news, heard.clone(), Arc::downgrade(slot)));
        Ok(Self { place, bus, heard, at: 0, units: BTreeMap::new(), states: BTreeMap::new(), listener })
    }

    async fn answer(&mut self, names: &BTreeSet<String>, stopped: bool) -> zbus::Result<Answer> {
        self.heard.asked.notify_one();
        let now = self.heard.changes.load(Ordering::Acquire);
        if now != self.at {
            (self.at, self.units, self.states) = (now, BTreeMap::new(), BTreeMap::new());
            self.heard.paths.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        let mut answer = Answer::default();
        let (mut open, mut seen): (Vec<String>, _) = (names.iter().cloned().collect(), names.clone());
        while let Some(name) = open.pop() {
            let unit = self.unit(&name).await?;
            if stopped {
                open.extend(unit.stopped_with().filter(|other| seen.insert((*other).clone())).cloned());
            }
            if names.contains(&name) {
                answer.ids.insert(name, unit.name.clone());
            }
            answer.units.push(unit);
            if answer.units.len() == UNITS_MAX && !open.is_empty() {
                answer.is_cut = true;
                break;
            }
        }
        answer.units.sort_by(|a, b| a.name.cmp(&b.name));
        // One unit may have been asked for by several names.
        answer.units.dedup();
        let around: BTreeSet<String> = answer.units.iter().flat_map(SystemdUnit::around).collect();
        answer.states = self.states(around).await?;
        Ok(answer)
    }

    /// A unit with its dependencies. It is loaded if it is not, as by `systemctl show`.
    async fn unit(&mut self, name: &str) -> zbus::Result<SystemdUnit> {
        if let Some(known) = self.units.get(name) {
            return Ok(known.clone());
        }
        let loaded = manager(&self.bus).await?.call("LoadUnit", &(name,)).await;
        let path: OwnedObjectPath = match loaded {
            Err(zbus::Error::MethodError(error, ..)) if error.as_str() == INVALID => {
                return Ok(SystemdUnit { name: name.into(), exists: false, ..SystemdUnit::default() });
            }
            path => path?,
        };
        // What changes from here on is heard.
        self.heard.listen_to(path.as_str());
        let properties = self.bus.call_method(Some(SERVICE), &path, Some("org.freedesktop.DBus.Properties"), "GetAll", &(UNIT,)).await?;
        let unit = understood(name, properties.body().deserialize()?);
        self.units.insert(name.to_owned(), unit.clone());
        Ok(unit)
    }

    async fn states(&mut self, names: BTreeSet<String>) -> zbus::Result<BTreeMap<String, String>> {
        let new: Vec<&String> = names.iter().filter(|name| !self.states.contains_key(*name)).collect();
        if !new.is_empty() {
            let listed: Vec<Listed> = manager(&self.bus).await?.call("ListUnitsByNames", &(new,)).await?;
            for (name, _, _, state, _, _, path, ..) in listed {
                self.heard.listen_to(path.as_str());
                self.states.insert(name, state);
            }
        }
        Ok(names.into_iter().filter_map(|name| self.states.get(&name).cloned().map(|state| (name, state))).collect())
    }
}

async fn manager(bus: &Connection) -> zbus::Result<Proxy<'static>> {
    Proxy::new(bus, SERVICE, MANAGER, "org.freedesktop.systemd1.Manager").await
}

fn understood(asked: &str, mut properties: BTreeMap<String, OwnedValue>) -> SystemdUnit {
    let text = |name: &str| properties.get(name).and_then(|value| <&str>::try_from(value).ok()).map(str::to_owned);
    let (name, state, load) = (text("Id"), text("ActiveState"), text("LoadState"));
    let mut list = |name: &str| properties.remove(name).and_then(|value| Vec::<String>::try_from(value).ok()).unwrap_or_default();
    SystemdUnit {
        name: name.unwrap_or_else(|| asked.to_owned()),
        exists: load.is_none_or(|load| load != "not-found"),
        state: state.unwrap_or_default(),
        binds_to: list("BindsTo"),
        requires: list("Requires"),
        requisite: list("Requisite"),
        part_of: list("PartOf"),
        wants: list("Wants"),
        after: list("After"),
        bound_by: list("BoundBy"),
        required_by: list("RequiredBy"),
        requisite_of: list("RequisiteOf"),
        consists_of: list("ConsistsOf"),
        wanted_by: list("WantedBy"),
        before: list("Before"),
    }
}

impl Heard {
    fn listen_to(&self, path: &str) {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
    }

    /// Takes note of what concerns somebody.
    fn hear(&self, message: &Message) {
        let header = message.header();
        let (Some(path), Some(member)) = (header.path(), header.member()) else { return };
        let concerns = if path.as_str() == MANAGER {
            NEWS.contains(&member.as_str())
        } else {
            member.as_str() == "PropertiesChanged" && self.paths.lock().unwrap_or_else(PoisonError::into_inner).contains(path.as_str())
        };
        if concerns {
            self.changes.fetch_add(1, Ordering::Release);
        }
    }
}

/// Listens until nobody has asked for some time, or the connection ends; then all that is known is forgotten.
async fn listen(mut news: MessageStream, heard: Arc<Heard>, slot: Weak<tokio::sync::Mutex<Option<Session>>>) {
    let linger = tokio::time::sleep(LINGER);
    tokio::pin!(linger);
    loop {
        tokio::select! {
            message = news.next() => match message {
                Some(Ok(message)) => heard.hear(&message),
                Some(Err(_)) | None => break,
            },
            () = heard.asked.notified() => linger.as_mut().reset(tokio::time::Instant::now() + LINGER),
            () = &mut linger => break,
        }
    }
    drop(news);
    if let Some(slot) = slot.upgrade() {
        *slot.lock().await = None;
    }
}
