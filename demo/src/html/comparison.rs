//! The comparison: the text's own table with what was measured in each cell, then its other claims.
#![forbid(unsafe_code)]

use super::badge;
use super::element::{Html, classed, element, headed, join, list, said, with};
use crate::comparison::{
    COLUMNS, Claim, Feature, Place, Standing, claim_at, lists, standing, tally,
};
use crate::report::Section;

/// The whole part; `whole`: also claims whose sections were not run.
pub fn comparison(sections: &[Section], whole: bool) -> Html {
    let is_shown = |claim: &&Claim| whole || standing(sections, claim) != Standing::NotRun;
    let row = |feature| COLUMNS.map(|body| claim_at(Place::Cell(feature, body)));
    let features: Vec<Feature> = Feature::ALL
        .into_iter()
        .filter(|&feature| row(feature).iter().any(is_shown))
        .collect();
    let lines = features
        .iter()
        .map(|&feature| line(sections, feature, row(feature)));
    let lines: Vec<Html> = lines.collect();
    let mut parts = Vec::new();
    if !lines.is_empty() {
        let names = COLUMNS.map(|body| {
            let class = format!("by by-{}", body.name());
            said("th", &class, body.name())
        });
        let corner = element("th", [Html::text("feature")]);
        let head = element("thead", [element("tr", [corner].into_iter().chain(names))]);
        parts.push(classed("table", "cells", [head, element("tbody", lines)]));
    }
    for (heading, claims) in lists() {
        let claims = claims.into_iter().filter(is_shown);
        let items = claims.map(|claim| entry(sections, claim));
        parts.push(headed("h3", heading, list("claims", items)));
    }
    if whole {
        parts.push(element("p", [Html::text(&tally(sections))]));
    }
    let parts = join(parts);
    if parts == Html::default() {
        return parts;
    }
    let heading = element("h2", [Html::text("The comparison, measured")]);
    with("section", &[("id", "comparison")], [heading, parts])
}

fn line(sections: &[Section], feature: Feature, claims: [&Claim; 3]) -> Html {
    let head = with("th", &[("scope", "row")], [Html::text(feature.name())]);
    let cells = claims.iter().zip(COLUMNS).map(|(claim, body)| {
        let content = entry(sections, claim);
        with("td", &[("data-body", body.name())], [content])
    });
    element("tr", [head].into_iter().chain(cells))
}

/// What the text says, what was measured, the verdict and its reason.
fn entry(sections: &[Section], claim: &Claim) -> Html {
    let quote = said("div", "quiet", &format!("“{}”", claim.text));
    let standing = standing(sections, claim);
    let target = format!("#{}", claim.section);
    let link = || with("a", &[("href", &target)], [Html::text(claim.section)]);
    let found = match standing {
        Standing::Answered(answer) => join([
            said("div", "value", &answer.value),
            element("div", [badge(answer.outcome), Html::text(" "), link()]),
            said("div", "note", &answer.why),
        ]),
        Standing::Unanswered => {
            let badge = said("span", "badge none", "no verdict");
            element("div", [badge, Html::text(" "), link()])
        }
        Standing::NotRun => {
            let badge = said("span", "badge none", "not run");
            let section = said("span", "quiet", claim.section);
            element("div", [badge, Html::text(" "), section])
        }
    };
    join([quote, found])
}
