//! What is special to gRPC: answers of broken messages and trailers, and HTTP/2's GOAWAY.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response};
use futures_util::stream;
use lgtm_core::ErrorType;
use lgtm_tests::signals::PATIENCE;

use super::hostile::{Place, SHORT};
use super::sender::{Backend, Sender, endpoint, errors, eventually, options};
use super::server::{Answers, Order, Trick};

fn answer(body: Body) -> Response<Body> {
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

/// These bytes, and then whether it is OK, if that is said.
fn framed(bytes: &'static [u8], status: Option<&'static str>) -> Response<Body> {
    let trailers =
        status.map(|status| HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())]));
    let body = http_body_util::BodyExt::with_trailers(
        http_body_util::Full::new(Bytes::from_static(bytes)),
        std::future::ready(trailers.map(Ok::<_, std::convert::Infallible>)),
    );
    answer(Body::new(body))
}

pub(crate) fn ok() -> Response<Body> {
    framed(&[0; 5], Some("0"))
}

/// The first answer is this one, the others are OK.
fn first(hostile: impl Fn() -> Response<Body> + Send + Sync + 'static) -> Answers {
    Answers::start(move |number, _| if number == 0 { hostile() } else { ok() })
}

#[test]
fn what_is_no_whole_grpc_answer_is_tried_again() {
    let message_of_two_gigabytes: &[u8] = &[0, 0x80, 0, 0, 0, 1, 2, 3];
    let cases: [(&str, &[u8], Option<&str>); 6] = [
        ("a message of 2 GB", message_of_two_gigabytes, Some("0")),
        ("a message whose compression is none", &[0xff, 0, 0, 0, 1, 0], Some("0")),
        ("a message that breaks off", &[0, 0, 0, 0, 100, 1], Some("0")),
        ("no message", &[], Some("0")),
        ("a message, and no status: a proxy has cut it", &[0; 5], None),
        ("nothing at all", &[], None),
    ];
    for (case, bytes, status) in cases {
        let server = first(move || framed(bytes, status));
        let sender = Sender::start(Backend::TempoGrpc, endpoint(&server.url()), options());
        sender.emit(3);
        let report = sender.flush();
        assert_eq!((report.delivered, report.lost(), server.bodies().len()), (3, 0, 2), "{case}: {report}");
        assert_eq!(errors(&report, ErrorType::Other), 1, "{case}: {report}");
    }
}

#[test]
fn the_page_of_a_gateways_error_does_not_hide_its_status() {
    let cases = [
        (401, ErrorType::Unauthorized),
        (403, ErrorType::Unauthorized),
        (429, ErrorType::Server),
        (502, ErrorType::Server),
        (503, ErrorType::Server),
    ];
    for (status, error) in cases {
        let server = first(move || {
            let page = Response::builder().status(status).header("content-type", "text/html");
            page.body(Body::from("<html><body>401 Authorization Required</body></html>")).unwrap()
        });
        let mut options = options();
        options.retry.probe = std::time::Duration::from_millis(1);
        let sender = Sender::start(Backend::TempoGrpc, endpoint(&server.url()), options);
        sender.emit(3);
        let report = sender.flush();
        assert_eq!((report.delivered, report.lost(), server.bodies().len()), (3, 0, 2), "{status}: {report}");
        assert_eq!(errors(&report, error), 1, "{status}: {report}");
    }
}

#[test]
fn an_endless_grpc_answer_ends_with_the_time_of_a_request_and_takes_no_memory() {
    // Empty messages without end; and one message that never ends, of which 4 MiB are the most.
    let parts: [&'static [u8]; 2] = [&[0; 5 * 1000], &[1; 64 * 1024]];
    for (part, begin) in parts.into_iter().zip([&[][..], &[0, 0, 0x3f, 0xff, 0xff]]) {
        let server = first(move || {
            let begin = std::iter::once(Bytes::copy_from_slice(begin));
            let rest = std::iter::repeat_with(move || Bytes::from_static(part));
            answer(Body::from_stream(stream::iter(begin.chain(rest).map(Ok::<_, std::convert::Infallible>))))
        });
        let before = lgtm_tests::storm::resident_bytes();
        let sender = Sender::start(Backend::TempoGrpc, endpoint(&server.url()).timeout(SHORT), options());
        sender.emit(3);
        let report = sender.flush();
        let grown = lgtm_tests::storm::resident_bytes().saturating_sub(before);
        assert_eq!((report.delivered, report.lost()), (3, 0), "{report}");
        assert!(report.errors.iter().map(|(_, count)| count).sum::<u64>() >= 1, "{report}");
        assert!(server.bodies().len() >= 2);
        // Other tests run beside this one.
        assert!(grown < 256 * 1024 * 1024, "memory grew by {grown} bytes");
    }
}

/// A frame of HTTP/2: settings; and GOAWAY, no error, behind the stream of this number.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

fn go_away(last: u8) -> Vec<u8> {
    [&[0, 0, 8, 7, 0, 0, 0, 0, 0][..], &[0, 0, 0, last], &[0, 0, 0, 0]].concat()
}

#[test]
fn a_request_that_goaway_says_was_not_processed_is_sent_again_at_once_and_arrives_once() {
    let place = Place::new(Backend::TempoGrpc, PATIENCE, [Trick::Hold([&SETTINGS[..], &go_away(0)].concat())]);
    let report = place.send();
    place.assert_all_stored(&report, 0);
    assert_eq!((place.front.connections(), report.errors.len()), (2, 0), "{report}");
}

#[test]
fn goaway_between_two_requests_costs_nothing() {
    let place = Place::new(Backend::TempoGrpc, PATIENCE, []);
    place.send();
    place.front.order(Order::Say(go_away(1)));
    eventually("the client goes", || place.front.left() == 1);
    let report = place.send();
    place.assert_all_stored(&report, 0);
    assert_eq!((place.front.connections(), report.errors.len()), (2, 0), "{report}");
}
