//! The page around the plots.

use std::fmt::Write;

use super::axis::number;
use super::compare::reference;
use super::svg::escape;
use super::{Report, Swept, curves, figures, timeline};
use crate::{PolicyName, sensitivity};

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub fn html(report: &Report) -> String {
    let mut page = String::new();
    let title = escape(&report.title);
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n<h1>{title}</h1>\n",
        toggles()
    );
    pairs(&mut page, &report.facts);
    for note in &report.notes {
        let _ = writeln!(page, "<p class=\"caution\">{}</p>", escape(note));
    }
    figures::section(&mut page, report);
    curves::section(&mut page, report);
    timeline::section(&mut page, report);
    swept(&mut page, report);
    page.push_str("<h2>Model</h2>\n<p class=\"note\">docs/simulator.md has their sources.</p>\n");
    pairs(&mut page, &report.model);
    page.push_str("</body>\n</html>\n");
    page
}

/// A policy that is not ticked in the legend has no curve.
fn toggles() -> String {
    let rule = |policy: PolicyName| {
        let class = super::class(policy);
        format!("body:has(#{class}:not(:checked)) .plots polyline.{class} {{ display: none }}\n")
    };
    PolicyName::ALL.map(rule).concat()
}

fn pairs(page: &mut String, pairs: &[(String, String)]) {
    page.push_str("<dl>\n");
    for (name, value) in pairs {
        let _ = writeln!(page, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
    }
    page.push_str("</dl>\n");
}

fn swept(page: &mut String, report: &Report) {
    let policies = report.policies();
    let (false, Some(compared)) = (report.sweep.is_empty(), reference(&policies)) else { return };
    let _ = write!(
        page,
        "<h2>Sensitivity</h2>\n<p class=\"note\">Makespan over that of {compared} with one number of \
         the model changed, first seed. The shortest is bold; pooled is an ideal and does not count. \
         A star marks the model's own value.</p>\n\
         <div class=\"wide\"><table>\n<thead><tr><th>number</th><th>value</th>"
    );
    for policy in &policies {
        let _ = write!(page, "<th>{policy}</th>");
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    let mut above = "";
    for Swept { number: name, value, unchanged, makespans } in &report.sweep {
        let heading = if *name == above { "" } else { name };
        above = name;
        let star = if *unchanged { "*" } else { "" };
        let _ = write!(page, "<tr><th>{heading}</th><td>{star}{}</td>", number(*value));
        let find = |wanted| makespans.iter().find(|(policy, _)| *policy == wanted);
        let base = find(compared).map_or(0.0, |(_, makespan)| *makespan);
        let winner = sensitivity::winner(makespans);
        for policy in &policies {
            let text = find(*policy).filter(|_| base > 0.0);
            let text = text.map_or("-".into(), |(_, makespan)| format!("{:.3}", makespan / base));
            let (on, off) = if winner == Some(*policy) { ("<b>", "</b>") } else { ("", "") };
            let _ = write!(page, "<td>{on}{text}{off}</td>");
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a style sheet has between `from` and the next `}`.
    fn block<'s>(style: &'s str, from: &str) -> &'s str {
        let start = style.find(from).unwrap_or_else(|| panic!("no {from}")) + from.len();
        &style[start..start + style[start..].find('}').unwrap()]
    }

    fn variables(block: &str) -> Vec<&str> {
        let mut names: Vec<&str> = block
            .split(';')
            .filter_map(|part| part.trim().strip_prefix("--")?.split(':').next())
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn light_and_dark_have_every_colour_that_is_used() {
        let light = variables(block(STYLE, ":root {\n  color-scheme: light dark;"));
        let dark =
            variables(block(STYLE, "@media screen and (prefers-color-scheme: dark) {\n  :root {"));
        assert!(light.len() > 15 && light == dark, "{light:?} {dark:?}");
        for used in STYLE.split("var(--").skip(1) {
            let name = used.split(')').next().unwrap();
            // --c is the colour of a policy, which its class has.
            assert!(name == "c" || light.contains(&name), "{name}");
        }
    }

    #[test]
    fn every_policy_has_a_colour() {
        for policy in PolicyName::ALL {
            let class = format!(".p-{policy} {{");
            assert!(block(STYLE, &class).contains("--c"), "{class}");
        }
    }
}
