//! Answers that are none: broken, endless, slow, missing. Nothing is lost, nothing grows, nothing hangs; and what may arrive
//! twice because of it.

use std::time::{Duration, Instant};

use lgtm_core::{DropReason, ErrorType, SignalReport};
use lgtm_devstack::{Devstack, Reply};
use lgtm_tests::signals::PATIENCE;

use super::sender::{Backend, NEVER, Sender, dropped, endpoint, errors, eventually, options};
use super::server::{Front, Order, Trick};

/// The time-out of requests where it is what ends them.
pub(crate) const SHORT: Duration = Duration::from_millis(500);

/// Far more than the buffers of a loopback connection, far less than an endless answer.
const BUFFERS: u64 = 32 * 1024 * 1024;

/// A backend behind a front.
pub(crate) struct Place {
    pub(crate) backend: Backend,
    pub(crate) stack: Devstack,
    pub(crate) front: Front,
    pub(crate) sender: Sender,
}

impl Place {
    pub(crate) fn new(backend: Backend, timeout: Duration, script: impl IntoIterator<Item = Trick>) -> Self {
        let stack = Devstack::start_blocking().unwrap();
        let front = Front::of(&backend.url(&stack), script);
        let sender = Sender::start(backend, endpoint(&front.url()).timeout(timeout), options());
        Self { backend, stack, front, sender }
    }

    /// Makes three items and sends them.
    #[track_caller]
    pub(crate) fn send(&self) -> SignalReport {
        self.sender.emit(3);
        self.sender.flush()
    }

    /// Everything is stored, once but for the requests that this machine was too busy to answer in time: those beyond the
    /// `scripted` ones.
    #[track_caller]
    fn assert_all_stored_in_spite_of(&self, report: &SignalReport, scripted: u64) {
        let timeouts = errors(report, ErrorType::Timeout);
        assert!(timeouts >= scripted, "{:?}: {report}", self.backend);
        let (stored, again) = self.backend.stored(&self.stack);
        let copies = (stored + again).div_ceil(report.delivered) - 1;
        assert!(copies <= timeouts - scripted, "{:?}: {report}", self.backend);
        assert_eq!((report.delivered, report.lost()), (report.admitted, 0), "{:?}: {report}", self.backend);
    }

    /// Everything is stored, `copies` times more than once.
    #[track_caller]
    pub(crate) fn assert_all_stored(&self, report: &SignalReport, copies: u64) {
        let what = format!("{:?}: {report}", self.backend);
        assert_eq!((report.delivered, report.lost()), (report.admitted, 0), "{what}");
        let (stored, again) = self.backend.stored(&self.stack);
        // Tempo keeps what it gets, and finds the copies when it is asked.
        assert_eq!(stored + again, report.delivered * (1 + copies), "{what}");
    }
}

fn head(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[test]
fn of_an_endless_answer_64_kib_are_read_and_its_connection_is_left() {
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let two_gigabytes = "HTTP/1.1 200 OK\r\ncontent-length: 2147483648\r\n\r\n";
    for backend in Backend::HTTP {
        for (begin, part) in [(chunked, &chunk), (two_gigabytes, &vec![0; 0x10000])] {
            let place = Place::new(backend, PATIENCE, [Trick::Endless(head(begin), part.clone())]);
            let report = place.send();
            // The status says that it is stored, whatever follows.
            assert_eq!((report.delivered, report.errors.len()), (report.admitted, 0), "{backend:?}: {report}");
            eventually("the client goes", || place.front.left() == 1);
            assert!(place.front.written() < BUFFERS, "{backend:?}: {} bytes", place.front.written());
            place.send();
            assert_eq!(place.front.connections(), 2, "{backend:?}: on a connection of its own");
        }
    }
}

#[test]
fn an_endless_answer_to_a_failure_is_a_failure() {
    let begin = "HTTP/1.1 503 Busy\r\ncontent-length: 2147483648\r\n\r\n";
    for backend in Backend::HTTP {
        let place = Place::new(backend, PATIENCE, [Trick::Endless(head(begin), vec![b'x'; 0x10000])]);
        let report = place.send();
        place.assert_all_stored(&report, 0);
        assert_eq!(errors(&report, ErrorType::Server), 1, "{report}");
        assert!(place.front.written() < BUFFERS, "{} bytes", place.front.written());
    }
}

#[test]
fn endless_headers_are_no_answer_and_end_soon() {
    for backend in Backend::HTTP {
        for part in ["x-filler: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", "y"]
        {
            let begin = head("HTTP/1.1 200 OK\r\nx-endless: ");
            let trick = Trick::Endless(begin, part.repeat(1000).into_bytes());
            let place = Place::new(backend, PATIENCE, [trick]);
            let report = place.send();
            place.assert_all_stored(&report, 0);
            assert_eq!(errors(&report, ErrorType::Other), 1, "{backend:?}: {report}");
            assert!(place.front.written() < BUFFERS, "{} bytes", place.front.written());
        }
    }
}

#[test]
fn what_is_no_http_is_no_answer_and_tried_again() {
    // A server of HTTP/2 says its settings, and goes.
    let http2 = [&[0, 0, 0, 4, 0, 0, 0, 0, 0][..], &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]].concat();
    for backend in Backend::HTTP {
        for (answer, error) in [
            (head("SSH-2.0-OpenSSH_9.6\r\n"), ErrorType::Other),
            (head("HTTP/1.1 999999 Much\r\n\r\n"), ErrorType::Other),
            (head("HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n"), ErrorType::Other),
            (vec![0xff; 1000], ErrorType::Other),
            (http2.clone(), ErrorType::Other),
            (head("HTTP/1.1 204 No Content\r\n"), ErrorType::Connect),
            (Vec::new(), ErrorType::Connect),
        ] {
            let shown = String::from_utf8_lossy(&answer[..answer.len().min(40)]).into_owned();
            let place = Place::new(backend, PATIENCE, [Trick::Close(answer)]);
            let report = place.send();
            place.assert_all_stored(&report, 0);
            assert_eq!(errors(&report, error), 1, "{backend:?}, `{shown}`: {report}");
        }
    }
}

#[test]
fn a_server_of_http_1_is_no_grpc_server_and_tried_again() {
    let answers = [
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "",
    ];
    for answer in answers {
        let place = Place::new(Backend::TempoGrpc, PATIENCE, [Trick::Close(head(answer))]);
        let report = place.send();
        place.assert_all_stored(&report, 0);
        assert_eq!(errors(&report, ErrorType::Connect), 1, "`{answer}`: {report}");
    }
}

#[test]
fn an_answer_that_drips_is_bounded_by_the_time_of_a_request() {
    let every = Duration::from_millis(20);
    let whole = head(
        "HTTP/1.1 200 OK\r\nserver: of a very slow kind, which takes much longer than anyone wants to wait\r\n\r\n",
    );
    for backend in Backend::HTTP {
        let place = Place::new(backend, SHORT, [Trick::Drip(Vec::new(), whole.clone(), every)]);
        let report = place.send();
        place.assert_all_stored_in_spite_of(&report, 1);
        assert!(place.front.written() < whole.len() as u64 || place.front.left() == 1);
    }
    // Once the status is there, the rest changes nothing.
    let begin = head("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
    for backend in Backend::HTTP {
        let place = Place::new(backend, SHORT, [Trick::Drip(begin.clone(), vec![b'x'; 100], every)]);
        let report = place.send();
        assert_eq!((report.delivered, report.errors.len()), (report.admitted, 0), "{backend:?}: {report}");
        eventually("the client goes", || place.front.left() == 1);
    }
}

#[test]
fn a_connection_reset_before_the_status_is_tried_again_and_may_arrive_twice() {
    for backend in Backend::ALL {
        // Of gRPC's answer no more than a part of the settings.
        let place = Place::new(backend, PATIENCE, [Trick::CutAnswer(8)]);
        let report = place.send();
        // Over HTTP/1 the backend has stored them when its answer is cut; over HTTP/2 it may say its settings before or after.
        let (stored, again) = backend.stored(&place.stack);
        let copies = (stored + again) / report.delivered - 1;
        assert!(copies <= 1 && (copies == 1 || backend == Backend::TempoGrpc), "{backend:?}: {copies}");
        place.assert_all_stored(&report, copies);
        assert_eq!(errors(&report, ErrorType::Connect), 1, "{backend:?}: {report}");
        assert_eq!(place.front.connections(), 2, "{backend:?}");
    }
}

#[test]
fn a_connection_reset_in_the_body_of_the_answer_changes_nothing_about_its_status() {
    let begin = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf";
    for backend in Backend::HTTP {
        // A reset may overtake what the client has not read yet: then there was no status, and it is sent again.
        let overtakes = |_: &u32| {
            let place = Place::new(backend, PATIENCE, [Trick::Reset(head(begin))]);
            let report = place.send();
            assert_eq!((report.delivered, report.lost()), (report.admitted, 0), "{backend:?}: {report}");
            let overtaken = errors(&report, ErrorType::Connect);
            assert_eq!(place.front.connections() as u64, 1 + overtaken, "{backend:?}: {report}");
            overtaken > 0
        };
        assert!((0..50).skip_while(overtakes).count() > 0, "{backend:?}: always sent again");
    }
}

#[test]
fn a_connection_reset_in_the_request_is_tried_again_and_arrives_once() {
    for backend in Backend::ALL {
        for bytes in [0, 10, 100] {
            let place = Place::new(backend, PATIENCE, [Trick::ResetRequest(bytes)]);
            let report = place.send();
            place.assert_all_stored(&report, 0);
            assert_eq!(errors(&report, ErrorType::Connect), 1, "{backend:?}: {report}");
        }
    }
}

#[test]
fn a_server_that_accepts_and_never_answers_is_left_for_a_new_connection() {
    for backend in Backend::ALL {
        let place = Place::new(backend, SHORT, [Trick::Hold(Vec::new()), Trick::Hold(Vec::new())]);
        let report = place.send();
        place.assert_all_stored_in_spite_of(&report, 2);
        eventually("the client goes", || place.front.left() == 2);
    }
}

#[test]
fn a_server_that_vanishes_is_left_for_a_new_connection() {
    for backend in Backend::ALL {
        let place = Place::new(backend, SHORT, []);
        let before = place.send();
        assert_eq!(before.delivered, before.admitted, "{before}");
        // No packet comes any more, also none that says so.
        place.front.order(Order::Vanish);
        let report = place.send();
        place.assert_all_stored_in_spite_of(&report, 1);
        assert!(place.front.connections() >= 2, "{backend:?}");
    }
}

#[test]
fn a_slow_answer_is_waited_for_and_nothing_is_sent_twice() {
    for backend in Backend::ALL {
        let stack = Devstack::start_blocking().unwrap();
        stack.script(backend.script(), Reply::normal().delay(Duration::from_millis(500)));
        let sender = Sender::to(backend, &stack);
        sender.emit(3);
        let began = Instant::now();
        let report = sender.flush();
        assert!(began.elapsed() >= Duration::from_millis(500));
        assert_eq!((report.delivered, report.errors.len()), (report.admitted, 0), "{backend:?}: {report}");
        assert_eq!(backend.requests(&stack).len(), 1, "{backend:?}");
    }
}

#[test]
fn an_idle_connection_that_the_server_closes_costs_nothing() {
    for backend in Backend::ALL {
        let place = Place::new(backend, PATIENCE, []);
        place.send();
        place.front.order(Order::Close);
        // The client has to hear of it first; what it sends into the close is tried again.
        let report = place.send();
        place.assert_all_stored(&report, 0);
        assert_eq!(place.front.connections(), 2, "{backend:?}");
    }
}

#[test]
fn a_name_that_does_not_resolve_keeps_the_items_until_their_time_is_over() {
    for backend in Backend::ALL {
        let mut options = options();
        options.retry.give_up_after = Duration::from_millis(50);
        let sender = Sender::start(backend, endpoint("http://backend.invalid:3100"), options);
        sender.emit(3);
        let report = sender.flush();
        assert_eq!(dropped(&report, DropReason::RetriesExhausted), report.admitted, "{backend:?}: {report}");
        // A resolver may take longer than a connection may.
        let tries = errors(&report, ErrorType::Connect) + errors(&report, ErrorType::Timeout);
        let all: u64 = report.errors.iter().map(|(_, count)| count).sum();
        assert!(tries >= 1 && tries == all, "{backend:?}: {report}");

        // At the end of the program one failure is enough.
        let mut options = super::sender::options();
        options.retry.give_up_after = NEVER;
        let sender = Sender::start(backend, endpoint("http://backend.invalid:3100"), options);
        sender.emit(3);
        let (report, took) = sender.end(PATIENCE);
        assert_eq!(dropped(&report, DropReason::Shutdown), report.admitted, "{backend:?}: {report}");
        assert!(took < PATIENCE / 2, "{backend:?}: {took:?}");
    }
}
