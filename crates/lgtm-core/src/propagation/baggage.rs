//! Baggage: names and values that travel with a request from process to process. Caller threads.
//! Source: W3C Baggage, <https://www.w3.org/TR/baggage/>.
//!
//! Nothing of it is recorded by itself: who wants a value on spans or lines puts it there.
//!
//! ```
//! use lgtm_core::propagation::{baggage, inject};
//!
//! let mut baggage = baggage::Baggage::default();
//! baggage.insert("customer.tier", "gold");
//! let _attached = baggage::attach(baggage);
//! let mut headers = http::HeaderMap::new();
//! inject(&mut headers);
//! assert_eq!(headers["baggage"], "customer.tier=gold");
//! ```

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::carrier::Extractor;

/// Most members (the specification asks for at least 64).
const MEMBERS: usize = 180;
/// Most bytes of the header (section 3.3.2).
const BYTES: usize = 8192;

/// What a value may not hold as it is: all but `baggage-octet` (section 3.3.1), and the percent sign itself.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b',').add(b';').add(b'\\').add(b'%');

/// Names, values and their properties, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baggage {
    members: Vec<Member>,
    /// Bytes of all members in the header, a comma for each: headers without end must not cost time without end.
    bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    key: String,
    value: String,
    /// As they came, without the first semicolon.
    properties: Option<String>,
}

impl Member {
    /// Bytes in the header, with a comma.
    fn bytes(&self) -> usize {
        let value: usize = utf8_percent_encode(&self.value, ENCODED).map(str::len).sum();
        self.key.len() + 1 + value + self.properties.as_ref().map_or(0, |properties| properties.len() + 1) + 1
    }
}

impl Baggage {
    /// Reads one header. A member that is malformed, or too many, is left out.
    #[must_use]
    pub fn parse(header: &str) -> Self {
        let mut baggage = Self::default();
        baggage.add(header);
        baggage
    }

    fn add(&mut self, header: &str) {
        for member in header.split(',') {
            let (pair, properties) = match member.split_once(';') {
                Some((pair, properties)) => (pair, Some(properties.trim().to_owned())),
                None => (member, None),
            };
            let Some((key, value)) = pair.split_once('=') else { continue };
            let (key, Ok(value)) = (key.trim(), percent_decode_str(value.trim()).decode_utf8()) else { continue };
            self.put(Member { key: key.to_owned(), value: value.into_owned(), properties });
        }
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.members.iter().find(|member| member.key == key).map(|member| member.value.as_str())
    }

    /// Sets a value, replacing one of the same name and its properties. False, and nothing changes, if the name is not a token
    /// (letters, digits and ``!#$%&'*+-.^_`|~``), or if the baggage would have more than 180 members or 8,192 bytes.
    pub fn insert(&mut self, key: &str, value: &str) -> bool {
        self.put(Member { key: key.to_owned(), value: value.to_owned(), properties: None })
    }

    fn put(&mut self, new: Member) -> bool {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if new.key.is_empty() || !new.key.bytes().all(is_token) {
            return false;
        }
        // Properties are passed on as they came: messages of queues may hold what would end a header, or begin another one.
        let is_shown = |byte: u8| matches!(byte, b'\t' | b' '..=b'~');
        if new.properties.as_ref().is_some_and(|properties| !properties.bytes().all(is_shown)) {
            return false;
        }
        let known = self.members.iter().position(|member| member.key == new.key);
        let freed = known.and_then(|place| self.members.get(place)).map_or(0, Member::bytes);
        let bytes = self.bytes - freed + new.bytes();
        // The first member has no comma.
        if self.members.len() + usize::from(known.is_none()) > MEMBERS || bytes - 1 > BYTES {
            return false;
        }
        if let Some(place) = known {
            self.members.remove(place);
        }
        self.members.push(new);
        self.bytes = bytes;
        true
    }

    /// Removes a name.
    pub fn remove(&mut self, key: &str) {
        self.members.retain(|member| member.key != key);
        self.bytes = self.members.iter().map(Member::bytes).sum();
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members.iter().map(|member| (member.key.as_str(), member.value.as_str()))
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// As the header's value.
impl fmt::Display for Baggage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, member) in self.members.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(formatter, "{comma}{}={}", member.key, utf8_percent_encode(&member.value, ENCODED))?;
            if let Some(properties) = &member.properties {
                write!(formatter, ";{properties}")?;
            }
        }
        Ok(())
    }
}

/// Reads the baggage of an incoming request; empty if there is none.
#[must_use]
pub fn extract(headers: &(impl Extractor + ?Sized)) -> Baggage {
    let mut baggage = Baggage::default();
    headers.values("baggage", &mut |header| baggage.add(header));
    baggage
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Baggage>>> = const { RefCell::new(None) };
}

/// The calling thread's baggage; empty if none is attached.
#[must_use]
pub fn current() -> Arc<Baggage> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten().unwrap_or_default()
}

/// Makes this the calling thread's baggage until the guard is dropped. For futures there is [`WithBaggage`].
pub fn attach(baggage: impl Into<Arc<Baggage>>) -> Attached {
    let previous = CURRENT.try_with(|current| current.replace(Some(baggage.into()))).ok().flatten();
    Attached { previous, _stays_on_its_thread: PhantomData }
}

/// Gives the thread its previous baggage back when it is dropped.
#[derive(Debug)]
#[must_use = "dropping it takes the baggage away again"]
pub struct Attached {
    previous: Option<Arc<Baggage>>,
    _stays_on_its_thread: PhantomData<*const ()>,
}

impl Drop for Attached {
    fn drop(&mut self) {
        let previous = self.previous.take();
        let _ = CURRENT.try_with(|current| current.replace(previous));
    }
}

pin_project_lite::pin_project! {
    /// A future that has baggage of its own wherever it runs.
    #[derive(Debug)]
    pub struct WithBaggage<F> {
        #[pin]
        future: F,
        baggage: Arc<Baggage>,
    }
}

impl<F> WithBaggage<F> {
    /// Attaches the baggage while the future is polled.
    pub fn new(baggage: impl Into<Arc<Baggage>>, future: F) -> Self {
        Self { future, baggage: baggage.into() }
    }
}

impl<F: Future> Future for WithBaggage<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _attached = attach(Arc::clone(this.baggage));
        this.future.poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_specification_are_read() {
        let baggage =
            Baggage::parse("key1=value1;property1;property2, key2 = value2, key3=value3; propertyKey=propertyValue");
        let pairs: Vec<_> = baggage.iter().collect();
        assert_eq!(pairs, [("key1", "value1"), ("key2", "value2"), ("key3", "value3")]);
        let text = "key1=value1;property1;property2,key2=value2,key3=value3;propertyKey=propertyValue";
        assert_eq!(baggage.to_string(), text);
        assert_eq!(Baggage::parse("serverNode=DF%2028,userId=Am%C3%A9lie").get("userId"), Some("Amélie"));
    }

    #[test]
    fn what_is_malformed_is_left_out_and_the_rest_stays() {
        let baggage = Baggage::parse("=1,a b=2,ok=3,none,bad=%FF,,also=4=5");
        assert_eq!(baggage.iter().collect::<Vec<_>>(), [("ok", "3"), ("also", "4=5")]);
    }

    #[test]
    fn what_could_end_the_header_is_left_out() {
        let baggage = Baggage::parse("a=1;x\r\nevil: 1,b=2;\u{fc},c=\r\n3;fine=\t1");
        assert_eq!(baggage.to_string(), "c=3;fine=\t1");
    }

    #[test]
    fn the_limits_hold() {
        let mut baggage = Baggage::default();
        for number in 0..MEMBERS {
            assert!(baggage.insert(&format!("k{number}"), "v"));
        }
        assert!(!baggage.insert("one-more", "v") && baggage.insert("k1", "other"));
        assert!(!baggage.insert("k2", &"v".repeat(BYTES)) && baggage.get("k2") == Some("v"));
        assert!(!baggage.insert("not a token", "v"));
    }

    #[test]
    fn it_is_the_threads_until_the_guard_goes_and_the_futures_while_it_is_polled() {
        let of = |value: &str| Baggage::parse(&format!("key={value}"));
        {
            let _outer = attach(of("outer"));
            {
                let _inner = attach(of("inner"));
                assert_eq!(current().get("key"), Some("inner"));
            }
            assert_eq!(current().get("key"), Some("outer"));
            let future = WithBaggage::new(of("future"), async {
                tokio::task::yield_now().await;
                current().get("key").map(str::to_owned)
            });
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            assert_eq!(runtime.block_on(future).as_deref(), Some("future"));
            assert_eq!(current().get("key"), Some("outer"));
        }
        assert!(current().is_empty());
    }

    proptest! {
        #[test]
        fn any_value_survives_the_round_trip(value: String) {
            let mut baggage = Baggage::default();
            if baggage.insert("key", &value) {
                let read = Baggage::parse(&baggage.to_string());
                prop_assert_eq!(read.get("key"), Some(value.as_str()));
            }
        }

        #[test]
        fn no_header_panics(header: String) {
            let _ = Baggage::parse(&header).to_string();
        }

        #[test]
        fn its_length_is_known_and_within_the_bound(given: Vec<(String, String)>, removed: String) {
            let mut baggage = Baggage::default();
            for (key, value) in &given {
                baggage.insert(key, value);
                baggage.insert(&format!("k{}", key.len()), &value.repeat(20));
                baggage.add(&format!("{key}={value};{removed}"));
            }
            baggage.remove(&removed);
            baggage.remove("k1");
            let text = baggage.to_string();
            prop_assert!(text.len() <= BYTES);
            prop_assert_eq!(baggage.bytes, if text.is_empty() { 0 } else { text.len() + 1 });
        }
    }
}
