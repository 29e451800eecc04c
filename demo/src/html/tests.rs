use super::page;
use crate::comparison::{Answer, Feature, Place};
use crate::excerpt::Excerpt;
use crate::figure::{Arrow, Axis, Course, Figure, Lane, Over, Span, State, Timeline, Trace};
use crate::report::tests::section;
use crate::report::{Body, Effort, Layout, Metric, Outcome, Report, Row, Section, Unit, Verdict};
use crate::stats::Summary;

/// A text that must not come out as it went in.
const EVIL: &str = "</td><script src='http://example.org'>&\"";

fn everything() -> Section {
    let metrics = vec![
        Metric::new("hand_over", Unit::Nanoseconds, EVIL),
        Metric::new("ended_by", Unit::Words, EVIL),
    ];
    let row = |units: u64, median: f64| {
        let mut row = Row::new(EVIL, Body::Thread);
        row.units = Some(units);
        let summary = Summary::of(&[median, median * 1.5]).unwrap();
        row.values.insert("hand_over".into(), summary);
        row.words.insert("ended_by".into(), EVIL.into());
        row.note = Some(EVIL.into());
        row
    };
    let rows = vec![row(10, 1.0), row(100, 2.0)];
    let axis = Axis::log(EVIL, Unit::Count);
    let place = Place::Cell(Feature::SwitchCost, Body::Thread);
    Section {
        claim: EVIL.into(),
        method: vec![EVIL.into()],
        code: vec![Excerpt {
            file: EVIL.into(),
            line: 7,
            code: EVIL.into(),
        }],
        verdict: Some(Verdict {
            outcome: Outcome::Refuted,
            why: EVIL.into(),
        }),
        answers: vec![Answer::new(place, Outcome::Depends, EVIL, EVIL)],
        figures: vec![
            Figure::ladder(EVIL, &metrics[0], &rows),
            Figure::lines(EVIL, axis, Over::Units, &metrics[0], &rows),
        ],
        timelines: vec![Timeline {
            title: EVIL.into(),
            body: Body::Process,
            lanes: vec![Lane {
                name: EVIL.into(),
                spans: vec![(0, 10)],
            }],
        }],
        traces: vec![Trace {
            title: EVIL.into(),
            lanes: vec![Course {
                name: EVIL.into(),
                body: Body::Coroutine,
                spans: vec![Span {
                    from: 0,
                    to: 10,
                    state: State::Runs,
                }],
            }],
            wake_ups: vec![Arrow {
                at: 5,
                from: 0,
                to: 0,
            }],
            text: EVIL.into(),
        }],
        cautions: vec![EVIL.into()],
        failures: vec![EVIL.into()],
        metrics,
        rows,
        ..section("switch")
    }
}

fn written(sections: Vec<Section>, whole: bool) -> String {
    let report = Report {
        demo: "0.1.0".into(),
        mode: Effort::Quick,
        sections,
    };
    page(&report, whole)
}

/// The tags of `html` that open an element, in order; panics where one is closed that is not open, or left open.
fn tags(html: &str) -> Vec<String> {
    let (mut open, mut seen) = (Vec::new(), Vec::new());
    let body = html.strip_prefix("<!DOCTYPE html>").expect("a doctype");
    for piece in body.split('<').skip(1) {
        let (tag, _) = piece.split_once('>').expect("a tag that ends");
        let name = tag.trim_start_matches('/').split([' ', '/']).next();
        let name = name.expect("split gives one piece").to_owned();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "before {piece}");
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if !tag.ends_with('/') {
            open.push(name);
        }
        seen.push(tag.to_owned());
    }
    assert_eq!(open, Vec::<String>::new());
    seen
}

#[test]
fn the_page_is_well_formed_and_needs_nothing_else_whatever_it_is_told() {
    let matrix = Section {
        name: "isolation".into(),
        layout: Layout::Matrix,
        ..everything()
    };
    let html = written(vec![everything(), matrix, section("hello")], true);
    let tags = tags(&html);
    let name_of = |tag: &str| tag.split([' ', '/']).next().map(String::from);
    let names: Vec<String> = tags.iter().filter_map(|tag| name_of(tag)).collect();
    let count = |name: &str| names.iter().filter(|other| *other == name).count();
    assert_eq!((count("script"), count("link"), count("img")), (0, 0, 0));
    // Two figures, a timeline and a trace in each of two sections, each for two formats.
    assert_eq!((count("figure"), count("svg")), (8, 16));
    assert_eq!(count("table"), 3);
    for tag in tags {
        // What stands between quotes may say anything.
        let names: String = tag.split('"').step_by(2).collect();
        let loads = [" src=", " srcset=", " xmlns", " style=", " on"];
        assert!(loads.iter().all(|load| !names.contains(load)), "{tag}");
        assert!(
            !names.contains(" href=") || tag.contains("href=\"#"),
            "{tag}"
        );
    }
    for loads in ["url(", "@import"] {
        assert!(!super::STYLE.contains(loads), "{loads}");
    }
    assert!(!html.contains(EVIL));
}

#[test]
fn each_cell_of_the_comparison_has_a_verdict_or_says_why_not() {
    let html = written(vec![everything()], true);
    assert_eq!(html.matches("<td data-body=").count(), 27);
    assert!(html.contains("class=\"badge depends\">depends<"));
    // Of `switch` the other two cells and two sentences; nothing else was run.
    assert_eq!(html.matches("class=\"badge none\">no verdict<").count(), 4);
    assert_eq!(
        html.matches("class=\"badge none\">not run<").count(),
        45 - 5
    );
    let part = written(vec![everything()], false);
    assert_eq!(part.matches("<td data-body=").count(), 3);
    assert!(!part.contains("not run"));
}

#[test]
fn a_section_without_anything_has_no_empty_parts() {
    let html = written(vec![section("hello")], false);
    for part in [">The numbers<", ">The code<", "<svg", "<figure"] {
        assert!(!html.contains(part), "{part}");
    }
    assert!(html.contains("no verdict"));
    tags(&written(vec![], true));
}
