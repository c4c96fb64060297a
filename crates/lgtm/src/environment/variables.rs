//! Looks variables up: empty ones count as unset (OpenTelemetry specification, "Environment Variable Specification").

use std::path::{Path, PathBuf};

use lgtm_core::Secret;

use crate::error::Error;

/// The variables of an environment.
pub(super) struct Variables<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Variables<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup }
    }

    /// The value without surrounding space, unless there is none.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The value that `parse` makes of the text, or an error that names variable, text and form.
    pub(super) fn parse<T>(
        &self,
        name: &str,
        form: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match parse(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::environment(name, format!("`{text}` cannot be used"), form)),
        }
    }

    /// The first of these variables that is set, with its value.
    #[cfg(any(feature = "loki", feature = "tempo", feature = "mimir"))]
    pub(super) fn first<'n>(&self, names: &[&'n str]) -> Option<(&'n str, String)> {
        names.iter().find_map(|name| self.text(name).map(|text| (*name, text)))
    }

    /// A secret, given by the variable itself or in the file that `<name>_FILE` names.
    pub(super) fn secret(&self, name: &str) -> Result<Option<Secret>, Error> {
        let file_name = format!("{name}_FILE");
        // The secret may begin or end with space.
        let direct = (self.lookup)(name).filter(|value| !value.is_empty());
        let Some(path) = self.text(&file_name) else { return Ok(direct.map(Secret::from)) };
        if direct.is_some() {
            return Err(Error::environment(
                &file_name,
                format!("it is set besides {name}"),
                "one of the two variables",
            ));
        }
        const FORM: &str = "the path of a readable file that holds nothing but the secret";
        // What is no whole path may be the secret itself, in the wrong variable.
        let shown =
            if Path::new(&path).is_absolute() { format!("`{path}`") } else { "the value (not shown)".to_owned() };
        Secret::from_file(&path)
            .map(Some)
            .map_err(|error| Error::environment(&file_name, format!("{shown} cannot be read ({error})"), FORM))
    }

    /// A file that can be opened.
    pub(super) fn file(&self, name: &str) -> Result<Option<PathBuf>, Error> {
        let Some(path) = self.text(name) else { return Ok(None) };
        match std::fs::File::open(&path) {
            Ok(_) => Ok(Some(PathBuf::from(path))),
            Err(error) => Err(Error::environment(
                name,
                format!("`{path}` cannot be read ({error})"),
                "a PEM file that can be read",
            )),
        }
    }
}
