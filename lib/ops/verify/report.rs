//! What the checker found: a table for people, JSON for programs, an exit code for scripts.

use std::fmt::Write as _;

use serde::Serialize;

use super::invariant::Invariant;

/// Evidence is missing, and nothing that there is says otherwise.
pub const EXIT_NOT_CHECKABLE: u8 = 2;

/// Examples kept per invariant.
const EXAMPLES: usize = 5;

/// Violations as a query tells them: a few in words, and how many there are (the same number in each row).
#[derive(Debug)]
pub struct Violation {
    pub example: String,
    pub total: i64,
}

impl From<crate::ledger::Discrepancy> for Violation {
    fn from(found: crate::ledger::Discrepancy) -> Self {
        Self { example: found.example, total: found.total }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Held,
    Violated,
    /// Evidence is missing, in part or altogether. Never counts as held.
    NotCheckable,
}

/// What was found about one invariant.
#[derive(Clone, Debug)]
pub struct Finding {
    pub invariant: Invariant,
    pub checked: u64,
    /// Not wrong, but not done yet: judged only when the fleet is at rest.
    pub under_way: u64,
    pub violations: u64,
    pub examples: Vec<String>,
    /// Why it could not be judged, or not altogether.
    pub gaps: Vec<String>,
}

impl Finding {
    pub fn new(invariant: Invariant) -> Self {
        Self { invariant, checked: 0, under_way: 0, violations: 0, examples: Vec::new(), gaps: Vec::new() }
    }

    /// Not judged at all.
    pub fn not_checkable(invariant: Invariant, reason: impl Into<String>) -> Self {
        Self { gaps: vec![reason.into()], ..Self::new(invariant) }
    }

    pub fn violation(&mut self, example: impl FnOnce() -> String) {
        self.violations += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example());
        }
    }

    pub fn violations_of<V: Into<Violation>>(&mut self, found: Vec<V>) {
        let found: Vec<Violation> = found.into_iter().map(Into::into).collect();
        self.violations += found.first().map_or(0, |violation| u64::try_from(violation.total).unwrap_or(1));
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(found.into_iter().take(room).map(|violation| violation.example));
    }

    pub fn gap(&mut self, reason: impl Into<String>) {
        self.gaps.push(reason.into());
    }

    /// What was found elsewhere about the same invariant.
    pub fn join(&mut self, other: Self) {
        self.checked += other.checked;
        self.under_way += other.under_way;
        self.violations += other.violations;
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.into_iter().take(room));
        self.gaps.extend(other.gaps);
    }

    pub fn verdict(&self) -> Verdict {
        if self.violations > 0 {
            Verdict::Violated
        } else if self.checked == 0 || !self.gaps.is_empty() {
            Verdict::NotCheckable
        } else {
            Verdict::Held
        }
    }

    /// The reasons for [`Verdict::NotCheckable`]; an empty table is one.
    pub fn reasons(&self) -> Vec<String> {
        if self.gaps.is_empty() && self.checked == 0 {
            vec![format!("there are no {} to judge by", self.invariant.counts())]
        } else {
            self.gaps.clone()
        }
    }
}

/// All findings, in the order of the invariants.
#[derive(Clone, Debug)]
pub struct Report {
    pub findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Line<'a> {
    invariant: &'static str,
    must_hold: &'static str,
    verdict: Verdict,
    checked: u64,
    counts: &'static str,
    under_way: u64,
    violations: u64,
    examples: &'a [String],
    not_checkable: Vec<String>,
}

impl Report {
    pub fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.invariant);
        Self { findings }
    }

    /// What was found in several places about one invariant becomes one finding.
    pub fn joined(found: Vec<Finding>) -> Self {
        let mut findings: Vec<Finding> = Vec::new();
        for finding in Self::new(found).findings {
            match findings.last_mut().filter(|last| last.invariant == finding.invariant) {
                Some(last) => last.join(finding),
                None => findings.push(finding),
            }
        }
        Self { findings }
    }

    /// Another reason why these were not judged: who left a source out knows why.
    pub fn unjudged_because(mut self, invariants: &[Invariant], reason: &str) -> Self {
        for finding in self.findings.iter_mut().filter(|finding| invariants.contains(&finding.invariant)) {
            finding.gaps = vec![reason.to_owned()];
        }
        self
    }

    pub fn finding(&self, invariant: Invariant) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.invariant == invariant)
    }

    /// A violation outweighs what could not be checked.
    pub fn verdict(&self) -> Verdict {
        let any = |verdict| self.findings.iter().any(|finding| finding.verdict() == verdict);
        if any(Verdict::Violated) {
            Verdict::Violated
        } else if any(Verdict::NotCheckable) || self.findings.is_empty() {
            Verdict::NotCheckable
        } else {
            Verdict::Held
        }
    }

    /// 0 all held, 1 a violation, 2 something could not be checked.
    pub fn exit_code(&self) -> u8 {
        match self.verdict() {
            Verdict::Held => 0,
            Verdict::Violated => 1,
            Verdict::NotCheckable => EXIT_NOT_CHECKABLE,
        }
    }

    pub fn json(&self) -> String {
        let lines: Vec<Line<'_>> = self
            .findings
            .iter()
            .map(|finding| Line {
                invariant: finding.invariant.name(),
                must_hold: finding.invariant.must_hold(),
                verdict: finding.verdict(),
                checked: finding.checked,
                counts: finding.invariant.counts(),
                under_way: finding.under_way,
                violations: finding.violations,
                examples: &finding.examples,
                not_checkable: if finding.verdict() == Verdict::Held { Vec::new() } else { finding.reasons() },
            })
            .collect();
        serde_json::json!({ "verdict": self.verdict(), "invariants": lines }).to_string()
    }

    pub fn table(&self) -> String {
        let mut text = format!("{:<5} {:<71} {:>10} {:>9}  {}\n", "", "must hold", "checked", "under way", "result");
        for finding in &self.findings {
            let result = match finding.verdict() {
                Verdict::Held => "held".to_owned(),
                Verdict::Violated => format!("VIOLATED {}", finding.violations),
                Verdict::NotCheckable => "not checkable".to_owned(),
            };
            let (name, what) = (finding.invariant.name(), finding.invariant.must_hold());
            let (checked, under_way) = (finding.checked, finding.under_way);
            writeln!(text, "{name:<5} {what:<71} {checked:>10} {under_way:>9}  {result}").ok();
            for example in &finding.examples {
                writeln!(text, "        {example}").ok();
            }
            if finding.verdict() != Verdict::Held {
                for reason in finding.reasons() {
                    writeln!(text, "        not checkable: {reason}").ok();
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(checked: u64, violations: u64, gaps: &[&str]) -> Finding {
        let mut finding = Finding::new(Invariant::I1);
        finding.checked = checked;
        (0..violations).for_each(|n| finding.violation(|| format!("case {n}")));
        gaps.iter().for_each(|gap| finding.gap(*gap));
        finding
    }

    #[test]
    fn an_empty_table_never_counts_as_held() {
        assert_eq!(finding(0, 0, &[]).verdict(), Verdict::NotCheckable);
        assert_eq!(Report::new(Vec::new()).exit_code(), 2);
        assert_eq!(finding(7, 0, &[]).verdict(), Verdict::Held);
    }

    #[test]
    fn a_violation_outweighs_what_could_not_be_checked() {
        let report = Report::new(vec![finding(7, 0, &["no log"]), finding(7, 9, &["no log"])]);
        assert_eq!(report.exit_code(), 1);
        assert_eq!(report.findings[1].examples.len(), EXAMPLES);
        assert_eq!(Report::new(vec![finding(7, 0, &["no log"])]).exit_code(), 2);
    }

    #[test]
    fn the_table_says_why_something_was_not_checked() {
        let report = Report::new(vec![finding(0, 0, &[]), finding(7, 0, &["no charge log was given"])]);
        assert!(
            report.table().contains("not checkable: there are no ledger entries to judge by"),
            "{}",
            report.table()
        );
        assert!(report.table().contains("not checkable: no charge log was given"));
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["verdict"], "not_checkable");
        assert_eq!(json["invariants"][1]["not_checkable"][0], "no charge log was given");
    }
}
