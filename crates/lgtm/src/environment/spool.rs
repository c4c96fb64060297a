//! The variables of the disk spool.

use lgtm_core::SpoolOptions;

use super::value;
use super::variables::Variables;
use crate::error::Error;

const FOLDER: &str = "LGTM_SPOOL_DIR";
const LEAST_BYTES: u64 = 1024 * 1024;

/// The spool, if a folder is named.
pub(super) fn read(variables: &Variables<'_>) -> Result<Option<SpoolOptions>, Error> {
    let max_bytes = variables.parse("LGTM_SPOOL_MAX_BYTES", value::BYTES_FORM, |text| {
        value::bytes(text).filter(|bytes| *bytes >= LEAST_BYTES)
    })?;
    let max_age = variables.parse("LGTM_SPOOL_MAX_AGE", value::AGE_FORM, value::age)?;
    let durable = variables.parse("LGTM_SPOOL_DURABLE", "true or false", value::switch)?;
    let Some(folder) = variables.text(FOLDER) else {
        // Whoever sets these believes that there is a spool.
        let set = [
            ("LGTM_SPOOL_MAX_BYTES", max_bytes.is_some()),
            ("LGTM_SPOOL_MAX_AGE", max_age.is_some()),
            ("LGTM_SPOOL_DURABLE", durable == Some(true)),
        ];
        if let Some((name, _)) = set.iter().find(|(_, set)| *set) {
            let value = variables.text(name).unwrap_or_default();
            let problem = format!("`{value}` is set, but {FOLDER} is not: there is no spool");
            return Err(Error::environment(name, problem, format!("{FOLDER} beside it, such as /var/lib/shop/spool")));
        }
        return Ok(None);
    };
    // What else can be wrong with it is found out when it is claimed.
    if std::path::Path::new(&folder).metadata().is_ok_and(|found| !found.is_dir()) {
        let problem = format!("`{folder}` is no folder");
        return Err(Error::environment(FOLDER, problem, "a folder that this process may create and write"));
    }
    let mut spool = SpoolOptions::new(folder);
    spool.max_bytes = max_bytes.unwrap_or(spool.max_bytes);
    spool.max_age = max_age.unwrap_or(spool.max_age);
    spool.durable = durable.unwrap_or(spool.durable);
    Ok(Some(spool))
}
