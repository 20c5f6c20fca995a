//! The sizes of a workload: `conns=64,size=4096`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// Names and numbers, in the order of the names.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Params(BTreeMap<String, u64>);

impl Params {
    /// These sizes.
    pub(crate) fn of(sizes: &[(&str, u64)]) -> Self {
        Self(sizes.iter().map(|&(name, size)| (name.to_owned(), size)).collect())
    }

    /// The size of this name. A workload asks only for what its own cases name: anything else is a mistake in it.
    pub(crate) fn get(&self, name: &str) -> u64 {
        self.find(name).unwrap_or_else(|| panic!("the workload has no size `{name}`: {self}"))
    }

    /// The size of this name, which some cases of a workload have.
    pub(crate) fn find(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// With one size more.
    pub(crate) fn and(mut self, name: &str, size: u64) -> Self {
        self.0.insert(name.to_owned(), size);
        self
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, size)) in self.0.iter().enumerate() {
            write!(f, "{}{name}={size}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for Params {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |pair: &str| {
            let (name, size) = pair.split_once('=').ok_or_else(|| format!("`{pair}` is not `name=number`"))?;
            let size = size.parse().map_err(|error| format!("`{pair}`: {error}"))?;
            Ok((name.to_owned(), size))
        };
        text.split(',').filter(|pair| !pair.is_empty()).map(parse).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_read_back() {
        for params in [Params::default(), Params::of(&[("size", 64), ("conns", 1)])] {
            assert_eq!(params.to_string().parse::<Params>(), Ok(params));
        }
        assert_eq!(Params::of(&[("size", 64), ("conns", 1)]).to_string(), "conns=1,size=64");
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert!("size".parse::<Params>().unwrap_err().contains("name=number"));
        assert!("size=big".parse::<Params>().is_err());
    }
}
