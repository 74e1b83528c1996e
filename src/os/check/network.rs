//! The network as the unit sees it: who listens on a port, and what an interface has counted (proc_pid_net(5)).

use std::time::Duration;

use super::file::value;
use super::found::Found;
use super::memory::Memory;
use crate::base::outcome::Outcome;
use crate::base::quantity::format_size;
use crate::base::time::Mono;
use crate::os::clock;
use crate::plan::{InterfaceProbe, NetworkProbe, PortProbe};

/// Looks at the network of the process `pid`. Blocks.
pub(super) fn check(probe: &NetworkProbe, pid: u32, memory: &mut Memory) -> Outcome {
    // Of one that is gone only the network of this process is known.
    let place = Some(format!("/proc/{pid}/net")).filter(|place| std::path::Path::new(place).exists());
    let place = place.unwrap_or_else(|| "/proc/self/net".into());
    let mut found = Found::default();
    if let Some(port) = &probe.port {
        look_at_port(port, &place, &mut found);
    }
    if let Some(interface) = &probe.interface {
        look_at_interface(interface, &place, &mut memory.counted, &mut found);
    }
    found.outcome()
}

fn look_at_port(probe: &PortProbe, place: &str, found: &mut Found) {
    let mut sockets = Sockets::default();
    for name in ["tcp", "tcp6"] {
        match std::fs::read_to_string(format!("{place}/{name}")) {
            Ok(text) => sockets.count(&text, probe.port),
            // There need not be any IPv6.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return found.unknown.push(format!("cannot read {place}/{name}: {error}")),
        }
    }
    let port = probe.port;
    if sockets.listeners == 0 {
        found.faults.push(format!("nobody listens on port {port}"));
    }
    if let Some(max) = probe.max_connections.filter(|max| sockets.connections > *max) {
        found.faults.push(format!("port {port} has {} connections, more than {max}", sockets.connections));
    }
    if let Some(max) = probe.max_backlog.filter(|max| sockets.backlog > *max) {
        found.faults.push(format!("{} connections to port {port} wait to be accepted, more than {max}", sockets.backlog));
    }
    let most = |most: Option<u64>| most.map(|most| most as f64);
    found.values.push(value("connections", sockets.connections as f64, "").at_most(most(probe.max_connections)));
    found.values.push(value("backlog", sockets.backlog as f64, "").at_most(most(probe.max_backlog)));
}

#[derive(Debug, Default, PartialEq)]
struct Sockets {
    listeners: u64,
    connections: u64,
    backlog: u64,
}

impl Sockets {
    /// Counts those of `port` in the text of /proc/net/tcp (proc_pid_net(5)): the receive queue of one that listens is its backlog.
    fn count(&mut self, text: &str, port: u16) {
        for line in text.lines().skip(1) {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let (Some(local), Some(_), Some(state), Some(queues)) = (fields.next(), fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let is_ours = local.rsplit_once(':').and_then(|(_, digits)| u16::from_str_radix(digits, 16).ok()) == Some(port);
            match state {
                "0A" if is_ours => {
                    self.listeners += 1;
                    self.backlog += queues.split_once(':').and_then(|(_, queue)| u64::from_str_radix(queue, 16).ok()).unwrap_or(0);
                }
                "01" if is_ours => self.connections += 1,
                _ => {}
            }
        }
    }
}

/// What the look before has found: when, and what the interface had counted.
pub(super) type Before = Option<(Mono, Counters)>;

/// What an interface has counted since it is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Counters {
    received: u64,
    transmitted: u64,
    /// Packets with errors and packets that were dropped, in both directions.
    errors: u64,
}

impl Counters {
    /// Those of an interface in the text of /proc/net/dev; none if it is not there.
    fn of(text: &str, interface: &str) -> Option<Self> {
        let counters = text.lines().find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))?;
        let counters: Vec<u64> = counters.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let field = |at: usize| counters.get(at).copied();
        // Eight for what is received, bytes, packets, errors and drops first; then the same for what is transmitted.
        let errors = [2, 3, 10, 11].into_iter().try_fold(0_u64, |sum, at| Some(sum.saturating_add(field(at)?)));
        Some(Self { received: field(0)?, transmitted: field(8)?, errors: errors? })
    }

    /// How much a second they have grown since then: received, transmitted, errors. None if one of them went back: the interface is another
    /// one, or its driver counts in 32 bits.
    fn rates(self, before: Self, passed: Duration) -> Option<[f64; 3]> {
        let counters = [(self.received, before.received), (self.transmitted, before.transmitted), (self.errors, before.errors)];
        let mut rates = [0.0; 3];
        for (rate, (now, then)) in rates.iter_mut().zip(counters) {
            *rate = now.checked_sub(then)? as f64 / passed.as_secs_f64();
        }
        Some(rates).filter(|_| !passed.is_zero())
    }
}

fn look_at_interface(probe: &InterfaceProbe, place: &str, before: &mut Before, found: &mut Found) {
    match std::fs::read_to_string(format!("{place}/dev")) {
        Ok(text) => judge(probe, Counters::of(&text, &probe.name), clock::mono(), before, found),
        Err(error) => found.unknown.push(format!("cannot read {place}/dev: {error}")),
    }
}

/// What the counters of an interface are `now`, compared with what they were.
fn judge(probe: &InterfaceProbe, counters: Option<Counters>, now: Mono, before: &mut Before, found: &mut Found) {
    let name = &probe.name;
    let old = std::mem::replace(before, counters.map(|counters| (now, counters)));
    let Some(counters) = counters else { return found.faults.push(format!("there is no interface {name}")) };
    let Some((then, old)) = old else { return found.unknown.push(format!("{name} has no rates before the second look")) };
    let Some([receive, transmit, errors]) = counters.rates(old, now - then) else {
        return found.unknown.push(format!("the counters of {name} went back"));
    };
    let most = |most: Option<u64>| most.map(|most| most as f64);
    found.values.push(value("receive", receive, "B").at_most(most(probe.max_receive)));
    found.values.push(value("transmit", transmit, "B").at_most(most(probe.max_transmit)));
    found.values.push(value("errors", errors, "").at_most(probe.max_errors));
    for (what, rate, most) in [("receives", receive, probe.max_receive), ("transmits", transmit, probe.max_transmit)] {
        if let Some(most) = most.filter(|most| rate > *most as f64) {
            found.faults.push(format!("{name} {what} {}/s, more than {}/s", format_size(rate as u64), format_size(most)));
        }
    }
    if let Some(most) = probe.max_errors.filter(|most| errors > *most) {
        found.faults.push(format!("{name} has {errors:.3} errors and drops a second, more than {most}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::outcome::{Value, Verdict};

    #[test]
    fn sockets_of_a_port_are_counted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let look = |max_backlog| {
            let port = Some(PortProbe { port, max_connections: None, max_backlog });
            check(&NetworkProbe { port, interface: None }, std::process::id(), &mut Memory::default())
        };
        assert_eq!(
            (look(Some(0)).verdict, look(None).values),
            (Verdict::Ok, vec![value("connections", 0.0, ""), value("backlog", 0.0, "")])
        );
        let _waiting: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
        let outcome = look(Some(2));
        assert_eq!(outcome.text, format!("3 connections to port {port} wait to be accepted, more than 2"));
        let _accepted = listener.accept().unwrap();
        assert_eq!(look(Some(2)).verdict, Verdict::Ok);
        drop(listener);
        assert_eq!(look(None).text, format!("nobody listens on port {port}"));
    }

    const DEV: &str = "Inter-|   Receive                                                |  Transmit\n \
                       face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
                       lo:  147281    1558    0    0    0     0          0         0   147282    1558    0    0    0     0       0          0\n  \
                       eth0:18446744073709551615 4657 1 2 0 0 0 0 317996 3495 3 4 0 0 0 0\n eth01: 1 2\n";

    fn counters(received: u64, transmitted: u64, errors: u64) -> Counters {
        Counters { received, transmitted, errors }
    }

    #[test]
    fn counters_are_read() {
        assert_eq!(Counters::of(DEV, "lo"), Some(counters(147_281, 147_282, 0)));
        assert_eq!(Counters::of(DEV, "eth0"), Some(counters(u64::MAX, 317_996, 10)));
        for missing in ["eth", "eth01", "eth1", "", "face |bytes"] {
            assert_eq!(Counters::of(DEV, missing), None, "{missing}");
        }
    }

    #[test]
    fn rates_come_from_differences_and_never_from_a_reset() {
        let probe = InterfaceProbe { name: "eth0".into(), max_receive: Some(2048), max_transmit: Some(1024), max_errors: Some(0.5) };
        let mut before = None;
        let mut look = |second: u64, counters| {
            let mut found = Found::default();
            judge(&probe, counters, Mono(second * 1_000_000_000), &mut before, &mut found);
            found.outcome()
        };
        let verdict_and_text = |outcome: Outcome| (outcome.verdict, outcome.text);
        let unknown = |why: &str| (Verdict::Unknown, why.to_owned());
        assert_eq!(verdict_and_text(look(10, Some(counters(1 << 40, 5, 7)))), unknown("eth0 has no rates before the second look"));
        let outcome = look(20, Some(counters((1 << 40) + 20_480, 10_245, 12)));
        assert_eq!(outcome.verdict, Verdict::Ok);
        let rates: Vec<_> = outcome.values.iter().map(|Value { name, value, .. }| (name.as_str(), *value)).collect();
        assert_eq!(rates, [("receive", 2048.0), ("transmit", 1024.0), ("errors", 0.5)]);
        let outcome = look(30, Some(counters((1 << 40) + 61_440, 40_245, 112)));
        let text = "eth0 receives 4.0 KiB/s, more than 2.0 KiB/s; eth0 transmits 2.9 KiB/s, more than 1.0 KiB/s; \
                    eth0 has 10.000 errors and drops a second, more than 0.5";
        assert_eq!(verdict_and_text(outcome), (Verdict::Failed, text.to_owned()));
        // It wraps, is made anew, goes away and comes back.
        assert_eq!(verdict_and_text(look(40, Some(counters(3, 40_246, 112)))), unknown("the counters of eth0 went back"));
        assert_eq!(look(50, Some(counters(3, 40_246, 112))).verdict, Verdict::Ok);
        assert_eq!(verdict_and_text(look(60, None)), (Verdict::Failed, "there is no interface eth0".to_owned()));
        assert_eq!(verdict_and_text(look(70, Some(counters(u64::MAX, 0, 0)))), unknown("eth0 has no rates before the second look"));
    }

    #[test]
    fn the_loopback_counts_what_is_sent_on_it() {
        let lo = |max_receive| NetworkProbe {
            port: None,
            interface: Some(InterfaceProbe { name: "lo".into(), max_receive, max_transmit: None, max_errors: None }),
        };
        let (mut memory, pid, begun) = (Memory::default(), std::process::id(), clock::mono());
        assert_eq!(check(&lo(None), pid, &mut memory).verdict, Verdict::Unknown);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..1000 {
            socket.send_to(&[0; 8192], socket.local_addr().unwrap()).unwrap();
        }
        let outcome = check(&lo(Some(1024)), pid, &mut memory);
        let least = 8_192_000.0 / (clock::mono() - begun).as_secs_f64();
        assert!(outcome.values[0].value >= least && outcome.verdict == Verdict::Failed, "{least}: {outcome:?}");
        assert!(outcome.text.starts_with("lo receives "), "{outcome:?}");
    }
}
