//! The ring, told of a topology whose numbers grow evenly.

use super::*;
use crate::status::fixture;

const SECOND: Duration = Duration::from_secs(1);

/// The fixture at `seconds`, where `split` has executed `rate` a second, one of its tasks busy half of the time.
fn at(seconds: u64, rate: u64) -> TopologySnapshot {
    let mut snapshot = fixture::topology();
    snapshot.uptime = Duration::from_secs(seconds);
    for task in &mut snapshot.components[1].tasks {
        task.executed = seconds * rate;
        task.spent.executing = snapshot.uptime / 2;
        task.execute = (0..seconds).map(|second| Duration::from_micros(1 + second)).collect();
    }
    snapshot
}

fn run(seconds: u64, rate: u64) -> History {
    let mut history = History::new("words-1".into());
    (1..=seconds).for_each(|second| history.push(&at(second, rate), Some(SECOND * second as u32 * 2)));
    history
}

#[test]
fn rates_are_those_of_their_windows() {
    let history = run(1_000, 50);
    let mut now = at(1_010, 50);
    for task in &mut now.components[1].tasks {
        task.executed += 1_000;
    }
    let rate = |window| history.window(&now, window).rates(1)[EXECUTED];
    assert_eq!(rate(Some(SECOND * 10)), 300.0);
    assert!((rate(Some(SECOND * 60)) - 100.0 - 2_000.0 / 60.0).abs() < 1e-6);
    assert!((rate(Some(SECOND * 600)) - 100.0 - 2_000.0 / 600.0).abs() < 1e-6);
    assert!((rate(None) - 100.0 - 2_000.0 / 1_010.0).abs() < 1e-6);
    let window = history.window(&now, Some(SECOND * 10));
    assert_eq!(window.processors(Some(SECOND * 2_020)), Some(2.0));
}

#[test]
fn a_young_topologys_windows_begin_at_its_start() {
    let history = run(4, 50);
    let now = at(5, 50);
    let window = history.window(&now, Some(SECOND * 10));
    assert_eq!((window.span, window.rates(1)[EXECUTED]), (SECOND * 5, 100.0));
    assert_eq!(History::new("words-1".into()).window(&now, Some(SECOND * 3)).span, SECOND * 5);
}

#[test]
fn distributions_are_those_of_their_windows_and_few_are_kept() {
    let history = run(1_200, 1);
    let now = at(1_200, 1);
    for (window, least, most) in [(10, 10, 11), (60, 60, 71), (600, 600, 661)] {
        let times = history.window(&now, Some(SECOND * window)).times(1);
        let count = times.execute.count() / 2;
        assert!((least..=most).contains(&count), "{count} in {window} s");
    }
    let kept = history.samples.iter().filter(|sample| sample.distributions.is_some()).count();
    assert!(kept <= 35, "{kept} kept");
    assert!(history.samples.len() <= 612, "{}", history.samples.len());
    assert!(history.samples.iter().filter(|sample| !sample.spent.is_empty()).count() <= 17);
}

#[test]
fn shares_of_a_window_do_not_count_what_was_before() {
    let mut history = run(100, 1);
    let mut now = at(110, 1);
    for task in &mut now.components[1].tasks {
        task.spent.executing = SECOND * 50 + SECOND * 9;
        task.spent.blocked = SECOND;
    }
    let shares = history.window(&now, Some(SECOND * 10)).shares(1, 0);
    assert_eq!(shares, Shares { busy: 0.9, blocked: 0.1, full: 0.0 });
    history.push(&now, None);
    assert_eq!(history.samples.len(), 101);
    history.push(&at(110, 1), None);
    assert_eq!(history.samples.len(), 101, "the same moment is not sampled twice");
}

#[test]
fn a_sparkline_has_a_point_for_each_ten_seconds_of_ten_minutes() {
    let points = run(95, 30).rates(1, EXECUTED);
    assert_eq!(points.len(), POINTS);
    assert!(points[..POINTS - 10].iter().all(Option::is_none));
    assert!(points[POINTS - 10..].iter().all(|point| point.is_some_and(|rate| (rate - 60.0).abs() < 1e-6)));
    assert!(run(700, 30).rates(1, EXECUTED).iter().filter(|point| point.is_some()).count() >= POINTS - 1);
    let busy = run(95, 30).busy(1, 2);
    assert!(busy.iter().flatten().all(|share| (share - 0.5).abs() < 1e-6), "{busy:?}");
}
