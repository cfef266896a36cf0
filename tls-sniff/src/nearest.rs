//! What was probably meant by a name that is none.

/// What of `names` is most like `name`, if one is.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// What is less alike is something else.
    const ALIKE: f64 = 0.8;
    names
        .map(|it| (strsim::jaro_winkler(name, it), it))
        .filter(|(alike, _)| *alike > ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, it)| it)
}

/// The same as the end of a sentence, empty if nothing is meant.
pub(crate) fn did_you_mean(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!(": did you mean \"{near}\"?"))
}
