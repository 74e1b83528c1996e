//! An actor, a future and an operating system process as children of one supervisor.
//!
//! Each of them fails once, in its own way: the actor by an error in a message handler, the future by a panic, the process by its exit
//! code. The supervisor treats them alike: it starts that one again and leaves the others alone. Run it with
//!
//! ```console
//! $ cargo run --example mixed_children
//! ```
//!
//! It ends by itself after about two seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ms_supervisor::actor::{BoxError, ChildSpec, ProcessSpec, SupervisorSpec, TaskContext};
use ms_supervisor::plan::Strategy;
use ractor::{Actor, ActorProcessingErr, ActorRef};

/// Counts beats. The first incarnation fails at the third.
struct Counter {
    lives: Arc<AtomicU32>,
}

/// One beat.
struct Beat;

impl Actor for Counter {
    type Msg = Beat;
    type State = u32;
    type Arguments = ();

    /// The actor counts as started when this has returned.
    async fn pre_start(&self, myself: ActorRef<Beat>, (): ()) -> Result<u32, ActorProcessingErr> {
        println!("actor:   life {} begins", self.lives.fetch_add(1, Ordering::Relaxed) + 1);
        myself.send_interval(Duration::from_millis(200), || Beat);
        Ok(0)
    }

    async fn handle(&self, _: ActorRef<Beat>, Beat: Beat, count: &mut u32) -> Result<(), ActorProcessingErr> {
        *count += 1;
        println!("actor:   beat {count}");
        if *count == 3 && self.lives.load(Ordering::Relaxed) == 1 {
            return Err("three beats are too many".into());
        }
        Ok(())
    }
}

/// Works in small steps until it is asked to end. The first incarnation panics.
async fn worker(context: TaskContext) -> Result<(), BoxError> {
    println!("future:  life {} begins", context.incarnation());
    for step in 1_u32.. {
        tokio::select! {
            () = context.shutdown_requested() => break,
            () = tokio::time::sleep(Duration::from_millis(300)) => println!("future:  step {step}"),
        }
        assert!(context.incarnation() > 1 || step < 3, "the first life ends here");
    }
    println!("future:  asked to end, cleaning up");
    Ok(())
}

/// A shell that ends with code 7 in its first life, which it knows by a file.
fn shell(marker: &std::path::Path) -> ProcessSpec {
    let script = r#"
        if [ -e "$MARKER" ]; then
            echo "process: second life, pid $$"; exec sleep 60
        fi
        : > "$MARKER"; echo "process: first life, pid $$"; sleep 1; exit 7
    "#;
    ProcessSpec::new("sh").argument("-c").argument(script).environment("MARKER", marker)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // What the supervisor has to say about its children goes to stderr.
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .init();
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let marker = std::env::temp_dir().join(format!("mixed_children.{}", std::process::id()));
    let lives = Arc::new(AtomicU32::new(0));

    let root = SupervisorSpec::new(Strategy::OneForOne)
        .intensity(5, Duration::from_secs(10))
        .child(ChildSpec::actor("actor", move || (Counter { lives: lives.clone() }, ())))
        .child(ChildSpec::task("future", worker))
        .child(ChildSpec::process("process", shell(&marker)))
        .start()
        .await?;

    tokio::time::sleep(Duration::from_secs(2)).await;
    for child in root.which_children().await? {
        println!("{:<9}{}", format!("{}:", child.id), if child.is_running() { "is up" } else { "is down" });
    }
    println!("stopping, in reverse order");
    let reason = root.stop().await;
    println!("the tree has ended: {reason}");
    if let Err(error) = tokio::fs::remove_file(&marker).await {
        eprintln!("cannot remove {}: {error}", marker.display());
    }
    Ok(())
}
