//! Tables of situations, and what is said of them.

use super::*;

fn spout(name: &str) -> Part {
    let (emitted, acked) = (100.0, 100.0);
    Part { name: name.into(), is_spout: true, tasks: 1, busy: 0.1, emitted, acked, ..Part::default() }
}

fn bolt(name: &str, busy: f64) -> Part {
    let (executed, emitted) = (100.0, 100.0);
    Part { name: name.into(), tasks: 1, busy, mean_busy: busy, executed, emitted, ..Part::default() }
}

fn link(from: usize, to: usize, fill: f64) -> Link {
    Link { from, to, fill, refused: fill > 0.9, ..Link::default() }
}

/// A chain of a spout and bolts, with the fills of the queues between.
fn chain(parts: Vec<Part>, fills: &[f64]) -> Scene {
    let links = fills.iter().enumerate().map(|(from, fill)| link(from, from + 1, *fill)).collect();
    let (status, span) = (TopologyStatus::Active, Duration::from_secs(10));
    Scene { status, span, processors: 2, at_work: Some(0.5), parts, links }
}

fn blocked(part: Part, blocked: f64) -> Part {
    Part { blocked, ..part }
}

fn assert_says(scene: &Scene, kind: Kind, component: Option<&str>, sentence: &str) {
    let verdict = judge(scene);
    assert_eq!((verdict.kind, verdict.component.as_deref()), (kind, component), "{}", verdict.sentence);
    assert!(verdict.sentence.contains(sentence), "{}", verdict.sentence);
}

#[test]
fn the_culprit_is_named_and_not_its_victims() {
    let parts = vec![blocked(spout("lines"), 0.9), blocked(bolt("split", 0.3), 0.6), bolt("count", 0.97)];
    let scene = chain(parts, &[1.0, 1.0]);
    assert_says(&scene, Kind::Bottleneck, Some("count"), "`count` is busy 97% of the time; give it 2 tasks.");
    assert_eq!(judge(&scene).held_up, [1, 0]);
}

#[test]
fn a_victim_that_was_busy_before_it_was_blocked_is_still_a_victim() {
    let parts = vec![spout("lines"), blocked(bolt("split", 0.7), 0.3), bolt("count", 0.65)];
    assert_says(&chain(parts, &[0.2, 1.0]), Kind::Bottleneck, Some("count"), "65%");
}

#[test]
fn a_spout_that_waits_for_its_trees_is_held_up_though_its_queue_is_not_full() {
    let parts =
        vec![Part { full: 0.9, ..spout("lines") }, blocked(bolt("split", 0.1), 0.8), bolt("count", 0.9)];
    let scene = chain(parts, &[0.4, 1.0]);
    assert_says(&scene, Kind::Bottleneck, Some("count"), "`count` is busy 90%");
    assert_eq!(judge(&scene).held_up, [1, 0]);
}

#[test]
fn spouts_that_may_not_open_more_trees_lead_to_the_busiest_behind_them() {
    let parts = vec![
        Part { full: 0.95, ..spout("lines") },
        bolt("split", 0.2),
        bolt("count", 0.99),
        bolt("sink", 0.4),
    ];
    let scene = chain(parts, &[0.1, 0.4, 0.0]);
    assert_says(&scene, Kind::Bottleneck, Some("count"), "`count` is busy 99%");
    assert_eq!(judge(&scene).held_up, [1, 0]);
}

#[test]
fn of_two_branches_the_one_that_holds_up_is_followed() {
    let parts = vec![blocked(spout("lines"), 0.8), bolt("quick", 0.9), bolt("slow", 0.95)];
    let mut scene = chain(parts, &[]);
    scene.links = vec![link(0, 1, 0.0), link(0, 2, 1.0)];
    assert_says(&scene, Kind::Bottleneck, Some("slow"), "give it 2 tasks");
    assert_eq!(judge(&scene).held_up, [1]);
}

#[test]
fn a_task_that_gets_most_is_named_with_another_remedy() {
    let count = Part { tasks: 4, busiest: 2, mean_busy: 0.3, ..bolt("count", 0.98) };
    let scene = chain(vec![blocked(spout("lines"), 0.9), count], &[1.0]);
    assert_says(
        &scene,
        Kind::Bottleneck,
        Some("count"),
        "its task 2, which is busy 98% of the time while its 4 tasks are 30%",
    );
}

#[test]
fn where_one_task_gets_all_more_of_them_are_no_remedy() {
    for count in [bolt("count", 0.97), Part { tasks: 4, busiest: 0, mean_busy: 0.25, ..bolt("count", 0.97) }]
    {
        let mut scene = chain(vec![blocked(spout("lines"), 0.9), count], &[1.0]);
        scene.links[0].is_undivided = true;
        assert_says(
            &scene,
            Kind::Bottleneck,
            Some("count"),
            "`count` is busy 97% of the time, and more tasks would not help: one gets all that `lines` sends.",
        );
        // Beside what everybody is told there may be what is spread.
        scene.links.push(link(0, 1, 1.0));
        assert!(!judge(&scene).sentence.contains("more tasks would not help"));
    }
}

#[test]
fn where_the_machine_is_used_up_more_tasks_are_no_remedy() {
    let mut scene = chain(vec![blocked(spout("lines"), 0.9), bolt("count", 0.97)], &[1.0]);
    scene.at_work = Some(1.95);
    assert_says(&scene, Kind::Bottleneck, Some("count"), "the machine's 2 processors are all in use");
    scene.parts[1].busy = 0.5;
    scene.parts[1].mean_busy = 0.5;
    assert_says(
        &scene,
        Kind::Bottleneck,
        Some("count"),
        "The machine's 2 processors are all in use; `count` takes most",
    );
}

#[test]
fn a_spout_that_everybody_waits_for_is_the_bottleneck() {
    let scene =
        chain(vec![Part { busy: 0.97, mean_busy: 0.97, ..spout("lines") }, bolt("count", 0.4)], &[0.0]);
    assert_says(&scene, Kind::Bottleneck, Some("lines"), "give it 2 tasks. All behind it keep up.");
}

#[test]
fn waiting_without_anybody_at_work_says_where_to_look() {
    let lines = Part { full: 0.99, pending: 10_000, ..spout("lines") };
    let scene = chain(vec![lines.clone(), bolt("hold", 0.02)], &[0.0]);
    assert_says(
        &scene,
        Kind::Waiting,
        Some("hold"),
        "`lines` waits with 10,000 trees open, as many as it may",
    );
    let sink = Part { error: Some("the log cannot be reached\nat all".into()), ..bolt("sink", 0.01) };
    let scene = chain(vec![lines, sink], &[0.0]);
    assert_says(&scene, Kind::Waiting, Some("sink"), "`sink` says: the log cannot be reached");
}

#[test]
fn nothing_arrives_and_where_it_stops() {
    let idle = Part { emitted: 0.0, acked: 0.0, ..spout("lines") };
    let still = |name| Part { executed: 0.0, emitted: 0.0, ..bolt(name, 0.0) };
    let scene = chain(vec![idle.clone(), still("split")], &[0.0]);
    assert_says(
        &scene,
        Kind::Nothing,
        Some("lines"),
        "Nothing arrives: `lines` has emitted nothing for 10 s. All that came is done.",
    );
    let scene = chain(vec![Part { pending: 1, ..idle }, still("split")], &[0.0]);
    assert_says(&scene, Kind::Nothing, Some("lines"), "1 tree is open.");
    let parts = vec![spout("lines"), Part { emitted: 0.0, ..bolt("split", 0.1) }, still("count")];
    let scene = chain(parts, &[0.0, 0.0]);
    assert_says(
        &scene,
        Kind::Nothing,
        Some("split"),
        "`split` takes 100 tuples a second and has emitted none for 10 s: nothing arrives at `count`",
    );
    let parts = vec![spout("lines"), Part { waiting: 1_200, ..still("count") }];
    assert_says(
        &chain(parts, &[0.1]),
        Kind::Nothing,
        Some("count"),
        "1,200 tuples wait for it, and it has executed none",
    );
}

#[test]
fn failures_are_said_before_that_all_is_well() {
    let lines = Part { failed: 5.0, ..spout("lines") };
    let scene = chain(vec![lines, Part { failed: 5.0, ..bolt("parse", 0.1) }], &[0.0]);
    assert_says(
        &scene,
        Kind::Failing,
        Some("parse"),
        "5 trees a second fail, 5% of all, most of them in `parse`",
    );
}

#[test]
fn all_is_well_where_it_is() {
    let scene = chain(vec![spout("lines"), bolt("count", 0.34)], &[0.1]);
    assert_says(
        &scene,
        Kind::Well,
        None,
        "All is well: 100 tuples a second come in; the busiest is `count`, 34% of the time.",
    );
}

#[test]
fn a_pause_is_no_bottleneck() {
    let mut scene = chain(vec![blocked(spout("lines"), 0.9), bolt("count", 0.97)], &[1.0]);
    scene.status = TopologyStatus::Inactive;
    assert_says(&scene, Kind::Resting, None, "Paused");
    scene.status = TopologyStatus::Killed;
    assert_says(&scene, Kind::Resting, None, "being stopped");
    scene.status = TopologyStatus::Active;
    scene.span = Duration::from_millis(100);
    assert_says(&scene, Kind::Resting, None, "just started");
}

#[test]
fn a_cycle_ends() {
    let mut scene = chain(
        vec![blocked(spout("lines"), 0.9), blocked(bolt("a", 0.2), 0.8), blocked(bolt("b", 0.3), 0.7)],
        &[1.0, 1.0],
    );
    scene.links.push(Link { feedback: true, ..link(2, 1, 1.0) });
    scene.links.push(link(2, 1, 1.0));
    let verdict = judge(&scene);
    assert_eq!(verdict.kind, Kind::Waiting);
}
