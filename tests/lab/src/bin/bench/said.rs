// SPDX-License-Identifier: MIT OR Apache-2.0

//! What `guest-tool` says: names and numbers, one line.

use anyhow::{Context as _, Result};
use std::collections::BTreeMap;

/// The numbers of one line.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Said(BTreeMap<String, f64>);

impl Said {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let pair = |words: &[&str]| {
            let [name, number] = words else { return None };
            Some((String::from(*name), number.parse().ok()?))
        };
        let numbers: Option<_> = words.chunks(2).map(pair).collect();
        Ok(Self(numbers.with_context(|| {
            format!("no names and numbers: `{text}`")
        })?))
    }

    pub(crate) fn get(&self, name: &str) -> Result<f64> {
        let number = self.0.get(name).copied();
        number.with_context(|| format!("no {name} in {:?}", self.0))
    }

    /// MiB of data.
    pub(crate) fn mib(&self) -> Result<f64> {
        Ok(self.get("bytes")? / f64::from(1 << 20))
    }

    /// MiB per second.
    pub(crate) fn rate(&self) -> Result<f64> {
        Ok(self.mib()? / (self.get("ns")? / 1e9))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tool_says_is_understood() -> Result<()> {
        let said = Said::parse("ns 500000000 bytes 1048576\n")?;
        assert_eq!(said.rate()?, 2.0);
        assert!(said.get("p50").is_err());
        assert!(Said::parse("p50").is_err());
        assert!(Said::parse("p50 x").is_err());
        Ok(())
    }
}
