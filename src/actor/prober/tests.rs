//! A prober and what it is told of the machine, in virtual time.

use std::net::TcpListener;
use std::os::unix::net::UnixStream;

use super::*;
use crate::base::choice::ProbeRole;
use crate::launcher::link::Link;

/// Somebody listens, and never says anything. Three failures, a second apart, are too many.
fn plan(silent: &TcpListener) -> Arc<ProbePlan> {
    let tcp = format!("tcp: {{address: \"{}\", expect: hello}}", silent.local_addr().unwrap());
    let plan = crate::plan::plan_of(&[("units/u.yaml", &format!("unit: u\nexec: x\nprobes: [{{{tcp}, period: 1s, timeout: 100ms}}]\n"))]);
    let plan = plan.units["u"].probes[0].clone();
    assert_eq!((plan.role, plan.failure_threshold), (ProbeRole::Liveness, 3));
    plan
}

/// Probes somebody who does not answer; what is told comes out of the channel.
fn prober(host: &Arc<Host>, silent: &TcpListener) -> (Prober, mpsc::UnboundedReceiver<News>) {
    let (here, _) = UnixStream::pair().unwrap();
    let (launcher, _) = Link::from_fd(here.into()).unwrap();
    let surroundings =
        Surroundings { unit: "u".into(), pid: 1, directory: "/".into(), environment: Vec::new(), logs: "/".into(), cgroup: None };
    let arguments = Arguments {
        plans: vec![plan(silent)],
        watchdog: None,
        rng: Rng::derive(1, &[]),
        surroundings,
        found: false,
        turns: Arc::default(),
        host: host.clone(),
        sparing: watch::channel(Sparing::default()).1,
        programs: Arc::new(Programs::new(launcher)),
        unit: None,
    };
    let (sender, news) = mpsc::unbounded_channel();
    (Prober::start(arguments, move |news| sender.send(news).is_ok()), news)
}

/// How many looks have failed so far, and whether the unit was called dead.
fn told(news: &mut mpsc::UnboundedReceiver<News>) -> (usize, bool) {
    let (mut failed, mut dead) = (0, false);
    while let Ok(news) = news.try_recv() {
        match news {
            News::Found { outcome, .. } => failed += usize::from(outcome.verdict == crate::base::outcome::Verdict::Failed),
            News::Dead(_) => dead = true,
            _ => {}
        }
    }
    (failed, dead)
}

#[tokio::test(start_paused = true)]
async fn what_fails_while_the_machine_stands_still_does_not_count_and_then_it_does() {
    let (host, clock) = (Arc::new(Host::default()), RuntimeClock::new());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_prober, mut news) = prober(&host, &silent);
    for _ in 0..100 {
        let from = clock.now();
        tokio::time::sleep(Duration::from_millis(200)).await;
        host.stood_still(from, clock.now());
        host.looked_at(clock.now());
    }
    let (failed, dead) = told(&mut news);
    assert!(failed >= 15 && !dead, "{failed}");
    host.looked_at(clock.now() + Duration::from_millis(1));
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        host.looked_at(clock.now());
    }
    assert!(told(&mut news).1, "it is found once the machine runs");
}

#[tokio::test(start_paused = true)]
async fn without_a_stall_it_is_found_at_once() {
    let host = Arc::new(Host::default());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_prober, mut news) = prober(&host, &silent);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(told(&mut news), (3, true));
}

#[test]
fn a_time_that_is_not_over_is_known_and_an_observer_that_has_ended_is_not_one_that_stands_still() {
    let host = Host::default();
    let at = |seconds: u64| Mono(seconds * 1_000_000_000);
    assert_eq!(host.stalls(at(0), at(100)), []);
    host.looked_at(at(10));
    assert_eq!(host.stalls(at(0), at(11)), []);
    assert_eq!(host.stalls(at(0), at(20)), [(at(10), at(20))]);
    host.stood_still(at(3), at(5));
    host.stood_still(at(4), at(6));
    host.stood_still(at(8), at(9));
    assert_eq!(host.stalls(at(0), at(11)), [(at(3), at(6)), (at(8), at(9))]);
    assert_eq!(host.stalls(at(6), at(20)), [(at(8), at(9)), (at(10), at(20))]);
    host.looked_at(Mono(0));
    assert_eq!(host.stalls(at(9), at(20)), []);
}
