use super::shrink::shrink;
use super::*;

#[test]
fn random_trees_keep_the_rules() {
    // Another base for each run in CI; without one always the same.
    #[expect(clippy::disallowed_methods, reason = "a test stands outside")]
    let base = std::env::var("MS_SIM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    let count = 10_000;
    let (mut steps, mut nodes) = (0_u64, 0);
    for seed in base..base + count {
        let case = Case::random(seed);
        let outcome = run(&case, false);
        steps += u64::from(outcome.steps);
        nodes += case.root.size();
        if let Some(violation) = outcome.violation {
            let small = shrink(case, |case| run(case, false).violation.is_some());
            let trace = run(&small, true).trace;
            panic!("seed {seed}: {violation}\n\n{small}{trace}\nreplay it with: ms-supervisor simulate --seed {seed}");
        }
    }
    println!("{count} random trees from seed {base}: {nodes} nodes, {steps} steps, no rule broken");
}
