//! What a broker is to reach: a number, or a share of what another one reaches in the same run.

use std::{fmt, str::FromStr};

/// A line of a file of goals: case, measure and bound with tabs between them.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    /// The case as it is written for a comparison.
    pub case: String,
    /// What is judged of it.
    pub measure: String,
    /// What it is to be.
    pub bound: Bound,
}

/// `>= 650000`, `<= 2000`, `>= 0.63 relay`, `<= 1 mosquitto`
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    at_least: bool,
    number: f64,
    /// The broker whose value the number is a share of.
    of: Option<String>,
}

impl Bound {
    /// The broker it compares with, if it does.
    pub fn of(&self) -> Option<&str> {
        self.of.as_deref()
    }

    /// Whether a value, or a share of the other broker's, is within it.
    pub fn holds(&self, value: f64) -> bool {
        match self.at_least {
            true => value >= self.number,
            false => value <= self.number,
        }
    }
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no goal; write \">= 5000\" or \"<= 0.5 BROKER\"");
        let mut words = text.split_whitespace();
        let at_least = match words.next() {
            Some(">=") => true,
            Some("<=") => false,
            _ => return Err(wrong()),
        };
        let number = words.next().and_then(|number| number.parse().ok());
        let bound = Bound {
            at_least,
            number: number.ok_or_else(wrong)?,
            of: words.next().map(str::to_owned),
        };
        match words.next() {
            None => Ok(bound),
            Some(_) => Err(wrong()),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.at_least { "≥ " } else { "≤ " })?;
        match &self.of {
            Some(other) => write!(out, "{:.0} % of {other}", self.number * 100.0),
            None => out.write_str(&super::outcome::number(self.number)),
        }
    }
}

/// All goals of a file. Empty lines and those that begin with `#` are for people.
pub fn parse(text: &str) -> Result<Vec<Goal>, String> {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let goals = lines.map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
        [case, measure, bound] => Ok(Goal {
            case: case.to_owned(),
            measure: measure.to_owned(),
            bound: bound.parse()?,
        }),
        _ => Err(format!("{line:?} is not case, measure and bound")),
    });
    goals.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_a_number_or_a_share() {
        let share: Bound = ">= 0.5 relay".parse().unwrap();
        assert_eq!((share.of(), share.holds(0.6)), (Some("relay"), true));
        assert!(!share.holds(0.4));
        assert_eq!(share.to_string(), "≥ 50 % of relay");
        let number: Bound = "<= 2000".parse().unwrap();
        assert!(number.holds(2000.0) && !number.holds(2001.0) && number.of().is_none());
        for wrong in ["", "5", "> 5", ">= x", ">= 1 relay too"] {
            assert!(wrong.parse::<Bound>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_has_one_goal_per_line_and_remarks() {
        let goals = parse("# why\n\npairs --qos 1\tp99 µs\t<= 1 other\n").unwrap();
        assert_eq!(goals.len(), 1);
        assert_eq!(
            (&*goals[0].case, &*goals[0].measure),
            ("pairs --qos 1", "p99 µs")
        );
        assert!(parse("pairs >= 5").is_err());
    }
}
