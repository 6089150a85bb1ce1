//! Query parameters, strictly: each is known, well formed, and given once unless it may repeat.
//!
//! An option that is misspelt must not be silently without effect, so whoever reads a query takes what it knows and
//! then calls [`Query::finish`], which refuses the rest by name.

use crate::http::{
    percent::{self, Plus},
    problem::Problem,
};
use smallvec::SmallVec;
use std::{borrow::Cow, fmt::Display, ops::RangeInclusive, str::FromStr};

/// The parameters of one request that were not taken yet, values still encoded.
#[derive(Debug, Default)]
pub struct Query<'a> {
    left: SmallVec<[(Cow<'a, str>, &'a str); 4]>,
    known: SmallVec<[&'static str; 12]>,
}

impl<'a> Query<'a> {
    /// Splits `raw`, the part behind `?`.
    pub fn parse(raw: Option<&'a str>) -> Result<Self, Problem> {
        let mut left = SmallVec::new();
        for pair in raw
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent::decode(name, Plus::Space)
                .map_err(|fault| Problem::parameter(name, fault.to_string()))?;
            left.push((name, value));
        }
        Ok(Query {
            left,
            known: SmallVec::new(),
        })
    }

    /// Whether `name` is given.
    pub fn has(&self, name: &str) -> bool {
        self.left.iter().any(|(found, _)| found == name)
    }

    /// All values of `name` in order, still encoded.
    pub fn take_all(&mut self, name: &'static str) -> Vec<&'a str> {
        self.known.push(name);
        let mut taken = Vec::new();
        while let Some(value) = self.take_first(name) {
            taken.push(value);
        }
        taken
    }

    /// The value of `name`, still encoded; twice is an error.
    pub fn take(&mut self, name: &'static str) -> Result<Option<&'a str>, Problem> {
        self.known.push(name);
        let value = self.take_first(name);
        match value.and_then(|_| self.take_first(name)) {
            None => Ok(value),
            Some(_) => Err(Problem::parameter(name, "given more than once")),
        }
    }

    fn take_first(&mut self, name: &str) -> Option<&'a str> {
        let at = self.left.iter().position(|(found, _)| found == name)?;
        Some(self.left.remove(at).1)
    }

    /// The value of `name` as text.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        let text = self.take(name)?.map(|raw| text_of(name, raw));
        Ok(text.transpose()?.map(Cow::into_owned))
    }

    /// The value of `name` as a switch.
    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>, Problem> {
        match self.take(name)? {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(_) => Err(Problem::parameter(name, "true or false")),
        }
    }

    /// The value of `name` as a whole number within `range`.
    pub fn number<N>(
        &mut self,
        name: &'static str,
        range: RangeInclusive<N>,
    ) -> Result<Option<N>, Problem>
    where
        N: FromStr + PartialOrd + Display,
    {
        let Some(raw) = self.take(name)? else {
            return Ok(None);
        };
        // digits only: FromStr would also take a sign
        let digits = raw.bytes().all(|byte| byte.is_ascii_digit());
        match raw.parse::<N>() {
            Ok(number) if digits && range.contains(&number) => Ok(Some(number)),
            _ => Err(Problem::parameter(
                name,
                format!("a whole number, {} to {}", range.start(), range.end()),
            )),
        }
    }

    /// The value of `name` as one of a few words.
    pub fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, Problem> {
        let Some(raw) = self.take(name)? else {
            return Ok(None);
        };
        match choices.iter().find(|(word, _)| *word == raw) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => {
                let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
                Err(Problem::parameter(
                    name,
                    format!("one of {}", words.join(", ")),
                ))
            }
        }
    }

    /// Refuses what nobody took.
    pub fn finish(self) -> Result<(), Problem> {
        match self.left.first() {
            None => Ok(()),
            Some((name, _)) if self.known.is_empty() => Err(Problem::parameter(
                name,
                "unknown; this resource has no parameters",
            )),
            Some((name, _)) => Err(Problem::parameter(
                name,
                format!("unknown here; known are {}", self.known.join(", ")),
            )),
        }
    }
}

/// Decodes one value of `name`; text that MQTT cannot carry is refused, too [MQTT-1.5.4-2].
pub fn text_of<'a>(name: &str, raw: &'a str) -> Result<Cow<'a, str>, Problem> {
    let text = percent::decode(raw, Plus::Space)
        .map_err(|fault| Problem::parameter(name, fault.to_string()))?;
    if text.contains('\0') {
        return Err(Problem::parameter(name, "it contains U+0000"));
    }
    if text.len() > usize::from(u16::MAX) {
        return Err(Problem::parameter(name, "it is longer than 65535 bytes"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(raw: &str) -> Query<'_> {
        Query::parse(Some(raw)).unwrap()
    }

    #[test]
    fn an_unknown_parameter_is_named() {
        let mut query = query("qos=1&quos=2");
        assert_eq!(query.number("qos", 0..=2).unwrap(), Some(1));
        let problem = format!("{:?}", query.finish().unwrap_err());
        assert!(problem.contains("quos"), "{problem}");
    }

    #[test]
    fn a_single_parameter_given_twice_is_refused() {
        assert!(query("qos=1&qos=1").number("qos", 0..=2).is_err());
        assert_eq!(query("user=a=1&user=b=2").take_all("user"), ["a=1", "b=2"]);
    }

    #[test]
    fn numbers_are_digits_within_their_range() {
        for raw in [
            "n=",
            "n=-1",
            "n=+1",
            "n=3",
            "n=1.0",
            "n=%31",
            "n=99999999999999999999",
        ] {
            assert!(query(raw).number("n", 0..=2u32).is_err(), "{raw}");
        }
        assert_eq!(query("n=2").number("n", 0..=2u32).unwrap(), Some(2));
    }

    #[test]
    fn switches_and_choices_know_their_words() {
        assert_eq!(query("a=true").flag("a").unwrap(), Some(true));
        assert_eq!(query("a=0").flag("a").unwrap(), Some(false));
        assert!(query("a").flag("a").is_err());
        assert!(query("a=TRUE").flag("a").is_err());
        assert_eq!(
            query("a=x").choice("a", &[("x", 1), ("y", 2)]).unwrap(),
            Some(1)
        );
        assert!(query("a=z").choice("a", &[("x", 1)]).is_err());
    }

    #[test]
    fn encoded_names_are_the_same_names() {
        let mut query = query("q%6Fs=2&&");
        assert_eq!(query.number("qos", 0..=2).unwrap(), Some(2));
        assert!(query.finish().is_ok());
        assert!(Query::parse(Some("%zz=1")).is_err());
    }
}
