//! For machines that watch: metrics, and whether all is well.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::refusal::Refusal;
use super::routes::{App, daemon_status};
use crate::actor::health::assessed;
use crate::base::choice::HealthLevel;
use crate::base::text::visible_line;
use crate::event::{HealthStatus, SupervisorStatus, UnitStatus};
use crate::policy::aggregate::{Opinion, unit_health};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/healthz", get(healthz))
        .route("/healthz/{name}", get(healthz_of))
}

async fn metrics(State(app): State<App>, headers: HeaderMap) -> Result<Response, Refusal> {
    let page = (app.node.metrics)().await.map_err(Refusal::internal)?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    // As Prometheus' own libraries do: the older format, which every tool reads, unless the newer one is asked for.
    if accept.contains("application/openmetrics-text") {
        Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], page).into_response())
    } else {
        Ok(([(header::CONTENT_TYPE, CLASSIC)], classic(&page)).into_response())
    }
}

/// OpenMetrics as the text format before it: counters are called as their samples are, and nothing marks the end.
fn classic(page: &str) -> String {
    let mut out = String::with_capacity(page.len());
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let counter = |line: &str| line.starts_with("# TYPE ") && line.ends_with(" counter");
        let (head, rest) = match line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE ")).and_then(|rest| rest.split_once(' '))
        {
            Some((name, rest)) => (&line[..line.len() - rest.len() - 1], Some((name, rest))),
            None => (line, None),
        };
        match rest {
            Some((_, rest)) if counter(line) || line.starts_with("# HELP ") && lines.peek().is_some_and(|next| counter(next)) => {
                out.push_str(&format!("{head}_total {rest}\n"));
            }
            _ if line == "# EOF" => {}
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(app): State<App>) -> Response {
    let mut faults = Vec::new();
    let daemon = daemon_status(&app.node);
    if daemon.state != "running" {
        faults.push(format!("[-]daemon {}\n", daemon.state));
    }
    faults.extend(app.node.context.view.units().iter().map(unit_line).filter(|line| !line.well).map(|line| line.text));
    answer(faults.is_empty(), if faults.is_empty() { "ok\n".into() } else { faults.concat() })
}

/// As well as the root is: what is only degraded works.
async fn healthz(State(app): State<App>, uri: Uri) -> Response {
    let view = &app.node.context.view;
    let plan = app.node.tree.plan();
    let opinions = assessed(view, &plan);
    let states = view.supervisors();
    let supervisors = states.iter().filter_map(|status| Some(supervisor_line(status, opinions.get(status.supervisor.as_str())?)));
    let lines: Vec<_> = supervisors.chain(view.units().iter().map(unit_line)).collect();
    let verbose = uri.query().is_some_and(|query| query.split('&').any(|word| word == "verbose" || word == "verbose=true"));
    let shown = lines.iter().filter(|line| verbose || !line.well).map(|line| line.text.as_str());
    let level = opinions.get(plan.root.as_str()).map_or(HealthLevel::Unhealthy, |opinion| opinion.health.level);
    let degradation = app.node.context.degradation.status();
    let is_spared = degradation.step > 0;
    let level = if is_spared { level.max(HealthLevel::Degraded) } else { level };
    let sign = if is_spared { '-' } else { '+' };
    let spared = degradation.sentence().filter(|_| verbose || is_spared).map(|text| format!("[{sign}]degradation {text}\n"));
    let verdict = if level == HealthLevel::Healthy { "ok\n".to_owned() } else { format!("{level}\n") };
    answer(level != HealthLevel::Unhealthy, shown.chain(spared.as_deref()).chain([verdict.as_str()]).collect())
}

/// The health of one unit or supervisor.
async fn healthz_of(State(app): State<App>, Path(name): Path<String>) -> Response {
    let view = &app.node.context.view;
    let supervisor = || {
        let status = view.supervisors().into_iter().find(|supervisor| supervisor.supervisor.as_str() == name)?;
        assessed(view, &app.node.tree.plan()).get(&name).map(|opinion| supervisor_line(&status, opinion))
    };
    match view.unit(&name).as_ref().map(unit_line).or_else(supervisor) {
        Some(line) => answer(line.works, line.text),
        None => (StatusCode::NOT_FOUND, format!("there is no unit or supervisor called `{name}`\n")).into_response(),
    }
}

fn answer(well: bool, text: String) -> Response {
    (if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text).into_response()
}

/// What is said of one unit or supervisor.
struct Line {
    /// Whether it is as it should be.
    well: bool,
    /// Whether it works.
    works: bool,
    text: String,
}

fn unit_line(unit: &UnitStatus) -> Line {
    let Opinion { wanted, health } = unit_health(unit);
    let state = match (unit.held, unit.paused) {
        (true, _) => "held",
        (false, true) => "paused",
        (false, false) => &unit.state,
    };
    let why = if wanted && health.level == HealthLevel::Degraded { health.why.as_deref() } else { unit.reason.as_deref() };
    line(unit.unit.as_str(), &health, state, why)
}

fn supervisor_line(supervisor: &SupervisorStatus, opinion: &Opinion) -> Line {
    let health = &opinion.health;
    let below = health.by.as_ref().filter(|by| by.as_str() != supervisor.supervisor.as_str()).map(|_| health.because());
    let below = below.as_deref().and_then(|because| because.strip_prefix(": "));
    line(supervisor.supervisor.as_str(), health, &supervisor.state, below.or(supervisor.reason.as_deref()))
}

fn line(name: &str, health: &HealthStatus, state: &str, why: Option<&str>) -> Line {
    let sign = if health.level == HealthLevel::Healthy { '+' } else { '-' };
    let level = if health.level == HealthLevel::Degraded { " degraded" } else { "" };
    // Somebody may look at it in a terminal.
    let why = why.map(|why| format!(": {}", visible_line(why))).unwrap_or_default();
    let (well, works) = (health.level == HealthLevel::Healthy, health.level != HealthLevel::Unhealthy);
    Line { well, works, text: format!("[{sign}]{name} {state}{level}{why}\n") }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests run programs")]

    use super::*;

    #[test]
    fn older_tools_get_the_older_format() {
        let page = "# HELP a_seconds Time.\n# TYPE a_seconds counter\na_seconds_total{x=\"# TYPE b counter\"} 1\n\
                    # HELP b Size.\n# TYPE b gauge\nb 2\n# EOF\n";
        let expect = "# HELP a_seconds_total Time.\n# TYPE a_seconds_total counter\na_seconds_total{x=\"# TYPE b counter\"} 1\n\
                      # HELP b Size.\n# TYPE b gauge\nb 2\n";
        assert_eq!(classic(page), expect);
    }

    #[test]
    fn promtool_accepts_the_page() {
        let snapshot = include_str!("../sink/metrics/snapshots/ms_supervisor__sink__metrics__tests__the_page_tells_everything.snap");
        let page = classic(snapshot.splitn(3, "---\n").last().unwrap());
        let pipe = std::process::Stdio::piped;
        let promtool =
            std::process::Command::new("promtool").args(["check", "metrics"]).stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn();
        let Ok(mut promtool) = promtool else { return eprintln!("SKIPPED: promtool is not installed") };
        std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), page.as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn the_held_are_well() {
        let mut unit = crate::api::tests::unit("web", "failed");
        unit.reason = Some("exit code 1".into());
        assert_eq!(unit_line(&unit).text, "[-]web failed: exit code 1\n");
        unit.held = true;
        assert_eq!(unit_line(&unit).text, "[+]web held: exit code 1\n");
        assert!(unit_line(&crate::api::tests::unit("web", "active")).well);
        assert!(!unit_line(&crate::api::tests::unit("web", "backoff")).works);
    }
}
