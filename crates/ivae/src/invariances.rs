use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Which variations are trivial, each with a latent of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Invariances {
    /// Rotation in the plane: `r`.
    pub rotation: bool,
    /// Translation along x and y: `t`.
    pub translation: bool,
    /// Size: `s`.
    pub scale: bool,
}

impl Invariances {
    /// Whether there is none: a plain VAE.
    pub fn none(self) -> bool {
        self == Self::default()
    }
}

impl FromStr for Invariances {
    type Err = Error;

    /// Letters of `r`, `t`, `s`, in any order, with or without commas; empty or `none` for none.
    fn from_str(text: &str) -> Result<Self> {
        let mut found = Self::default();
        if text == "none" {
            return Ok(found);
        }
        for letter in text.chars().filter(|c| *c != ',' && !c.is_whitespace()) {
            match letter {
                'r' => found.rotation = true,
                't' => found.translation = true,
                's' => found.scale = true,
                _ => {
                    let (what, value) = ("invariances", format!("`{text}`"));
                    return Err(Error::Parameter { what, value, accepted: "r, t, s separated by commas, or none" });
                }
            }
        }
        Ok(found)
    }
}

impl std::fmt::Display for Invariances {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = [(self.rotation, "r"), (self.translation, "t"), (self.scale, "s")];
        let letters: Vec<&str> = all.iter().filter(|(on, _)| *on).map(|(_, l)| *l).collect();
        f.write_str(if letters.is_empty() { "none".to_owned() } else { letters.join(",") }.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariances_are_read_in_any_form() {
        let read = |t: &str| t.parse::<Invariances>().map(|i| i.to_string());
        assert_eq!(read("r,t").unwrap(), "r,t");
        assert_eq!(read("tr").unwrap(), "r,t");
        assert_eq!(read("none").unwrap(), "none");
        assert_eq!(read("").unwrap(), "none");
        assert!(read("r,q").unwrap_err().to_string().contains("`r,q`"));
    }
}
