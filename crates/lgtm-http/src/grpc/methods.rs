//! The names of methods. Callers choose the path of a request: a name counts only if the service knows it, and no more of them
//! than a fixed number. Caller threads.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::RwLock;

/// The most names that are learned.
const MOST: usize = 512;
/// The longest name that is learned.
const LONGEST: usize = 256;

/// Which methods there are.
#[derive(Debug)]
pub(crate) enum Methods {
    /// These and no others.
    Listed(HashSet<Arc<str>>),
    /// Those that were answered as methods that exist.
    Learned(RwLock<HashSet<Arc<str>>>),
}

impl Default for Methods {
    fn default() -> Self {
        Self::Learned(RwLock::default())
    }
}

/// A method's name, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// It exists.
    Known(Arc<str>),
    /// The answer will tell.
    New(Arc<str>),
    /// It does not, or is one too many.
    Other,
}

impl Method {
    /// The name to show; `None`: `_OTHER`.
    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Known(name) | Self::New(name) => Some(name),
            Self::Other => None,
        }
    }
}

impl Methods {
    pub(crate) fn listed<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self {
        Self::Listed(names.into_iter().map(|name| Arc::from(name.as_ref().trim_start_matches('/'))).collect())
    }

    pub(crate) fn copy(&self) -> Self {
        match self {
            Self::Listed(names) => Self::Listed(names.clone()),
            Self::Learned(names) => Self::Learned(RwLock::new(names.read().clone())),
        }
    }

    /// Of the path of a request: `/package.Service/Method`.
    pub(crate) fn of_path(&self, path: &str) -> Method {
        let name = path.strip_prefix('/').unwrap_or(path);
        let find = |names: &HashSet<Arc<str>>| names.get(name).cloned().map(Method::Known);
        match self {
            Self::Listed(names) => find(names).unwrap_or(Method::Other),
            Self::Learned(names) => {
                let names = names.read();
                let may_be_new = || names.len() < MOST && is_name(name);
                find(&names).unwrap_or_else(|| if may_be_new() { Method::New(Arc::from(name)) } else { Method::Other })
            }
        }
    }

    /// A new method was answered by the service: it exists. False if it is one too many.
    pub(crate) fn learn(&self, name: &Arc<str>) -> bool {
        let Self::Learned(names) = self else { return false };
        let mut names = names.write();
        names.contains(name) || (names.len() < MOST && names.insert(Arc::clone(name)))
    }
}

/// `package.Service/Method`.
fn is_name(name: &str) -> bool {
    let mut parts = name.split('/');
    let is_part = |part: Option<&str>| part.is_some_and(|part| !part.is_empty());
    name.len() <= LONGEST && is_part(parts.next()) && is_part(parts.next()) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_new_until_it_is_learned_and_no_more_are_learned_than_fit() {
        let methods = Methods::default();
        let first: Arc<str> = Arc::from("shop.Orders/Place");
        assert_eq!(methods.of_path("/shop.Orders/Place"), Method::New(Arc::clone(&first)));
        assert!(methods.learn(&first));
        assert_eq!(methods.of_path("/shop.Orders/Place"), Method::Known(Arc::clone(&first)));
        let learned = (0..2 * MOST).filter(|number| methods.learn(&Arc::from(format!("shop.Orders/{number}")))).count();
        assert_eq!(learned, MOST - 1);
        assert_eq!(methods.of_path("/shop.Orders/New"), Method::Other);
        assert!(methods.learn(&first), "it is there already");
    }

    #[test]
    fn what_is_no_method_is_never_learned() {
        let methods = Methods::default();
        for path in ["", "/", "/shop.Orders", "/shop.Orders/", "//Place", "/a/b/c", &format!("/a/{}", "x".repeat(256))]
        {
            assert_eq!(methods.of_path(path), Method::Other, "{path}");
        }
    }

    #[test]
    fn a_list_is_all_there_is() {
        let methods = Methods::listed(["/shop.Orders/Place", "shop.Orders/Cancel"]);
        assert_eq!(methods.of_path("/shop.Orders/Place"), Method::Known(Arc::from("shop.Orders/Place")));
        assert_eq!(methods.of_path("/shop.Orders/Cancel"), Method::Known(Arc::from("shop.Orders/Cancel")));
        assert_eq!(methods.of_path("/shop.Orders/Other"), Method::Other);
    }
}
