use super::*;
use crate::base::exit::Signal;

const KILLED: ExitCause = ExitCause::Signal { signal: Signal::KILL, core: false };

/// Process `pid`, started as the `pid`-th.
fn process(pid: u32) -> Identity {
    Identity { started: u64::from(pid), pid }
}

fn looked(pids: &[u32]) -> Input {
    Input::Looked(pids.iter().map(|pid| process(*pid)).collect())
}

/// A watch with what it said, in words.
struct Told {
    watch: Watch,
    now: Mono,
    told: Vec<String>,
}

impl Told {
    fn new(min: u32) -> Self {
        Self::after(min, None)
    }

    fn after(min: u32, memory: Option<WatchMemory>) -> Self {
        let mut told = Self { watch: Watch::new(min, memory), now: Mono(1_000_000_000), told: Vec::new() };
        told.step(Input::Start);
        told
    }

    /// Steps; whatever is to be pinned is.
    fn step(&mut self, input: Input) -> &mut Self {
        self.step_but(input, &[])
    }

    /// The same, but these cannot be pinned.
    fn step_but(&mut self, input: Input, missing: &[u32]) -> &mut Self {
        let mut out = Vec::new();
        self.watch.step(self.now, input, &mut out);
        for effect in out {
            match effect {
                Effect::Pin(wanted) => {
                    let answers = wanted.iter().map(|one| (*one, !missing.contains(&one.pid))).collect();
                    self.step(Input::Pinned(answers));
                }
                Effect::Found(one, others) => self.told.push(format!("found {}+{others}", one.pid)),
                Effect::Gone { process, cause, left, others } => {
                    let how = cause.map_or_else(|| "changed".into(), |cause| cause.to_string());
                    self.told.push(format!("{} {how}, {left} left+{others}", process.pid));
                }
                Effect::Present { gone, known } => self.told.push(match (gone, known) {
                    (Some(gone), _) => format!("back after {gone:?}"),
                    (None, true) => "as before".into(),
                    (None, false) => "present".into(),
                }),
                Effect::Lost => self.told.push("lost".into()),
                Effect::Look | Effect::Entered(_) => {}
            }
        }
        self
    }

    fn later(&mut self, seconds: u64) -> &mut Self {
        self.now = self.now + Duration::from_secs(seconds);
        self
    }

    fn end(&mut self, pid: u32) -> &mut Self {
        self.step(Input::Ended(process(pid), KILLED))
    }

    #[track_caller]
    fn says(&mut self, expected: &[&str]) -> &mut Self {
        assert_eq!(std::mem::take(&mut self.told), expected);
        self
    }
}

#[test]
fn one_process_comes_goes_and_comes_back() {
    let mut told = Told::new(1);
    told.step(looked(&[])).says(&[]);
    assert_eq!(told.watch.state(), State::Searching);
    told.step(looked(&[7])).says(&["found 7+0", "present"]);
    told.step(looked(&[7])).says(&[]);
    told.end(7).says(&["7 SIGKILL, 0 left+0", "lost"]);
    assert_eq!(told.watch.state(), State::Gone);
    // It is told once, and searched for ever.
    told.later(3).step(looked(&[])).end(7).step(looked(&[])).says(&[]);
    told.later(9).step(looked(&[8])).says(&["found 8+0", "back after 12s"]);
}

#[test]
fn one_of_several_is_no_loss_and_too_few_are_one() {
    let mut told = Told::new(2);
    told.step(looked(&[1])).says(&["found 1+0"]);
    told.step(looked(&[1, 2, 3])).says(&["found 2+0", "found 3+0", "present"]);
    assert_eq!(told.watch.main(), Some(process(1)));
    told.end(1).says(&["1 SIGKILL, 2 left+0"]);
    assert_eq!((told.watch.main(), told.watch.state()), (Some(process(2)), State::Present));
    told.end(3).says(&["3 SIGKILL, 1 left+0", "lost"]);
    told.end(2).says(&["2 SIGKILL, 0 left+0"]);
    told.later(1).step(looked(&[4])).says(&["found 4+0"]);
    told.later(1).step(looked(&[4, 5])).says(&["found 5+0", "back after 2s"]);
}

#[test]
fn who_is_replaced_in_time_is_not_lost() {
    let mut told = Told::new(1);
    told.step(looked(&[1])).step(looked(&[1, 2])).says(&["found 1+0", "present", "found 2+0"]);
    told.end(1).step(looked(&[2])).says(&["1 SIGKILL, 1 left+0"]);
}

#[test]
fn a_number_that_is_used_again_is_another_process() {
    let mut told = Told::new(1);
    let (first, second) = (process(7), Identity { started: 900, pid: 7 });
    told.step(looked(&[7])).end(7).says(&["found 7+0", "present", "7 SIGKILL, 0 left+0", "lost"]);
    told.step(Input::Looked([second].into())).says(&["found 7+0", "back after 0ns"]);
    // What is said of the first one does not concern it.
    told.step(Input::Ended(first, KILLED)).says(&[]);
    assert_eq!(told.watch.main(), Some(second));
    // One that is gone before it is pinned was never there.
    let mut told = Told::new(1);
    told.step_but(looked(&[7]), &[7]).says(&[]);
    assert_eq!((told.watch.state(), told.watch.matches()), (State::Searching, 0));
    told.step(looked(&[7])).says(&["found 7+0", "present"]);
}

#[test]
fn each_flap_is_one_trouble_with_an_end() {
    let mut told = Told::new(1);
    told.step(looked(&[1000])).says(&["found 1000+0", "present"]);
    let mut troubles = 0;
    for pid in 1001..1101 {
        told.end(pid - 1).later(1).step(looked(&[pid]));
        let said = std::mem::take(&mut told.told);
        assert_eq!(said[1..], ["lost".to_owned(), format!("found {pid}+0"), "back after 1s".to_owned()]);
        troubles += 1;
    }
    assert_eq!((troubles, told.watch.state()), (100, State::Present));
}

#[test]
fn what_becomes_something_else_is_let_go_after_a_second_look() {
    let mut told = Told::new(1);
    told.step(looked(&[1, 2])).says(&["found 1+0", "found 2+0", "present"]);
    told.step(looked(&[1])).step(looked(&[1, 2])).step(looked(&[1])).says(&[]);
    told.step(looked(&[1])).says(&["2 changed, 1 left+0"]);
    told.step(looked(&[])).step(looked(&[])).says(&["1 changed, 0 left+0", "lost"]);
}

#[test]
fn many_are_pinned_up_to_a_limit_and_told_as_a_number() {
    let mut told = Told::new(1100);
    let all: Vec<u32> = (1..=1200).collect();
    told.step(looked(&all));
    let said = std::mem::take(&mut told.told);
    assert_eq!((said.len(), &*said[TOLD_MAX - 1], &*said[TOLD_MAX]), (TOLD_MAX + 1, "found 16+1008", "present"));
    assert_eq!((told.watch.matches(), told.watch.pinned().count()), (1200, PINNED_MAX));
    // Those that end in between two looks are told as a number, but never the one that decides.
    for pid in 1..=101 {
        told.end(pid);
    }
    let said = std::mem::take(&mut told.told);
    assert_eq!(said.len(), TOLD_MAX + 2, "{said:?}");
    assert_eq!(said[TOLD_MAX..], ["101 SIGKILL, 1099 left+84", "lost"]);
    told.end(102).end(103).says(&[]);
    assert!(told.watch.holds(process(103)) && !told.watch.holds(process(102)));
    let rest: Vec<u32> = (104..=1200).collect();
    told.step(looked(&rest));
    let said = std::mem::take(&mut told.told);
    assert_eq!((&*said[0], &*said[1]), ("103 SIGKILL, 1097 left+1", "found 1025+0"));
    assert_eq!((told.watch.matches(), told.watch.pinned().count()), (1097, PINNED_MAX));
}

#[test]
fn who_stops_hears_nothing_more_and_begins_anew() {
    let mut told = Told::new(1);
    told.step(looked(&[1])).step(Input::Stop).end(1).step(looked(&[2])).says(&["found 1+0", "present"]);
    assert_eq!((told.watch.state(), told.watch.memory(), told.watch.matches()), (State::Stopped, None, 0));
    told.step(Input::Start).step(looked(&[1])).says(&["found 1+0", "present"]);
}

#[test]
fn the_next_one_tells_only_what_is_new() {
    let mut told = Told::new(1);
    told.step(looked(&[3, 5])).says(&["found 3+0", "found 5+0", "present"]);
    let memory = told.watch.memory();
    // Nothing has happened.
    let mut next = Told::after(1, memory);
    assert_eq!(next.watch.memory(), memory);
    next.step(looked(&[3, 5])).says(&["as before"]);
    assert_eq!(next.watch.memory(), memory);
    // One has come.
    Told::after(1, memory).step(looked(&[3, 5, 6])).says(&["found 6+0", "as before"]);
    // The oldest has ended, and nobody has seen how.
    Told::after(1, memory).step(looked(&[5])).says(&["3 exit unknown, 1 left+0", "as before"]);
    // All have.
    let mut next = Told::after(1, memory);
    next.step(looked(&[])).says(&["3 exit unknown, 0 left+0", "lost"]);
    // It was gone, and stays so; then it is back.
    let memory = next.watch.memory();
    let mut next = Told::after(1, memory);
    next.later(5).step(looked(&[])).says(&[]);
    assert_eq!(next.watch.state(), State::Gone);
    next.step(looked(&[9])).says(&["found 9+0", "back after 5s"]);
    Told::after(1, memory).later(2).step(looked(&[9])).says(&["found 9+0", "back after 2s"]);
}

#[test]
fn what_somebody_changes_is_no_trouble() {
    let mut told = Told::new(1);
    told.step(looked(&[1, 2])).says(&["found 1+0", "found 2+0", "present"]);
    told.step(Input::Replan { min: 1, anew: true }).says(&[]);
    assert_eq!(told.watch.state(), State::Present, "until it was looked for");
    told.step(looked(&[2, 3])).says(&["found 3+0"]);
    told.step(Input::Replan { min: 1, anew: true }).step(looked(&[])).says(&[]);
    assert_eq!(told.watch.state(), State::Searching);
    told.step(looked(&[4])).says(&["found 4+0", "present"]);
    told.step(Input::Replan { min: 2, anew: false }).says(&[]);
    assert_eq!(told.watch.state(), State::Searching);
    told.step(Input::Replan { min: 1, anew: false }).says(&["present"]);
}

#[test]
fn every_input_is_taken_in_every_state() {
    let inputs = [
        Input::Start,
        Input::Stop,
        looked(&[1, 2]),
        looked(&[]),
        Input::Pinned(vec![(process(1), true), (process(2), false)]),
        Input::Ended(process(1), KILLED),
        Input::Replan { min: 2, anew: true },
        Input::Replan { min: 1, anew: false },
    ];
    // Every row of five.
    for row in 0..inputs.len().pow(5) {
        let (mut watch, mut out, mut rest) = (Watch::new(1, None), Vec::new(), row);
        let mut troubles = 0_i32;
        for step in 0..5 {
            watch.step(Mono(step), inputs[rest % inputs.len()].clone(), &mut out);
            rest /= inputs.len();
            for effect in out.drain(..) {
                troubles += match effect {
                    Effect::Lost => 1,
                    Effect::Present { gone: Some(_), .. } => -1,
                    Effect::Entered(State::Stopped) => -troubles,
                    _ => 0,
                };
            }
            assert!((0..=1).contains(&troubles), "row {row}: a trouble begins once and ends once");
            assert_eq!(troubles == 1, watch.state() == State::Gone, "row {row}");
            assert!(watch.state() != State::Present || watch.main().is_some() || watch.is_blind, "row {row}");
            assert!(watch.state() != State::Stopped || watch.matches() == 0, "row {row}");
        }
    }
}
