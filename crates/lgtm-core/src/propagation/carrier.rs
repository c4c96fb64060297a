//! What carries contexts between processes: anything that looks like headers. Caller threads.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Headers of an incoming request or message. Names are read in any case.
pub trait Extractor {
    /// Shows every value of this name (lower case), in order.
    fn values(&self, name: &str, show: &mut dyn FnMut(&str));
}

/// Headers of an outgoing request or message.
pub trait Injector {
    /// Sets the only value of this name (lower case), replacing what was there.
    fn set(&mut self, name: &str, value: &str);

    /// Removes every value of this name.
    fn remove(&mut self, name: &str);
}

/// Also `tonic`'s metadata, by way of `MetadataMap::into_headers` and `MetadataMap::from_headers`.
impl Extractor for HeaderMap {
    fn values(&self, name: &str, show: &mut dyn FnMut(&str)) {
        for value in self.get_all(name) {
            show(&String::from_utf8_lossy(value.as_bytes()));
        }
    }
}

impl Injector for HeaderMap {
    fn set(&mut self, name: &str, value: &str) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            self.insert(name, value);
        }
    }

    fn remove(&mut self, name: &str) {
        HeaderMap::remove(self, name);
    }
}

impl<S: BuildHasher> Extractor for HashMap<String, String, S> {
    fn values(&self, name: &str, show: &mut dyn FnMut(&str)) {
        for (_, value) in self.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)) {
            show(value);
        }
    }
}

impl<S: BuildHasher> Injector for HashMap<String, String, S> {
    fn set(&mut self, name: &str, value: &str) {
        Injector::remove(self, name);
        self.insert(name.to_owned(), value.to_owned());
    }

    fn remove(&mut self, name: &str) {
        self.retain(|key, _| !key.eq_ignore_ascii_case(name));
    }
}

impl Extractor for BTreeMap<String, String> {
    fn values(&self, name: &str, show: &mut dyn FnMut(&str)) {
        for (_, value) in self.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)) {
            show(value);
        }
    }
}

impl Injector for BTreeMap<String, String> {
    fn set(&mut self, name: &str, value: &str) {
        Injector::remove(self, name);
        self.insert(name.to_owned(), value.to_owned());
    }

    fn remove(&mut self, name: &str) {
        self.retain(|key, _| !key.eq_ignore_ascii_case(name));
    }
}

/// Names and values in order, as message queues have them.
impl Extractor for Vec<(String, String)> {
    fn values(&self, name: &str, show: &mut dyn FnMut(&str)) {
        for (_, value) in self.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)) {
            show(value);
        }
    }
}

impl Injector for Vec<(String, String)> {
    fn set(&mut self, name: &str, value: &str) {
        Injector::remove(self, name);
        self.push((name.to_owned(), value.to_owned()));
    }

    fn remove(&mut self, name: &str) {
        self.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
    }
}
