//! Secrets and certificates that change while the program runs: what is new is used, and nothing is lost over it.

use std::path::Path;

use super::certificates::{Certificates, ClientCertificate};
use super::grpc::{GrpcServer, start_grpc};
use super::support::*;
use crate::accounting::ErrorType;
use crate::endpoint::Endpoint;
use crate::pipeline::Pipeline;
use crate::secret::Secret;

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

fn with_token_of(endpoint: Endpoint, path: &Path) -> Endpoint {
    endpoint.bearer_token(Secret::from_file(path).unwrap())
}

/// One token after the other, each demanded as soon as it stands in the file.
fn rotate(path: &Path, pipeline: &Pipeline, demand: impl Fn(&str)) {
    for number in 0..5 {
        let token = format!("token-{number}");
        write(path, &format!("{token}\n"));
        demand(&token);
        assert!(admit(pipeline.queue(), number));
        flush(pipeline);
    }
    let report = end(pipeline);
    assert_eq!((report.delivered, report.rejected), (5, 0), "{report}");
}

#[test]
fn a_token_that_rotates_costs_no_item_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    write(&path, "first");
    let server = Server::start([]);
    let pipeline = start(with_token_of(server.endpoint(), &path), slow_with_fast_retries());
    rotate(&path, &pipeline, |token| server.answer(Answer::Demand(format!("authorization: bearer {token}\r\n"))));
    assert_eq!(server.stored(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_token_that_rotates_costs_no_item_over_grpc() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    write(&path, "first");
    let server = GrpcServer::start([]);
    let pipeline = start_grpc(with_token_of(server.endpoint(), &path), slow_with_fast_retries());
    rotate(&path, &pipeline, |token| server.demand(&format!("Bearer {token}")));
    assert_eq!(server.stored(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_password_and_a_header_rotate_together_with_one_request_refused_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let (password, key) = (folder.path().join("password"), folder.path().join("key"));
    write(&password, "old");
    write(&key, "old");
    let server = Server::start([]);
    let endpoint = server
        .endpoint()
        .basic_auth("me", Secret::from_file(&password).unwrap())
        .header(http::HeaderName::from_static("x-key"), Secret::from_file(&key).unwrap());
    let pipeline = start(endpoint, slow_with_fast_retries());
    write(&password, "new");
    write(&key, "new");
    // me:new; heads are shown in lower case.
    server.answer(Answer::Demand("authorization: basic bwu6bmv3\r\n".to_owned()));
    assert!(admit(pipeline.queue(), 1));
    assert_eq!(end(&pipeline).delivered, 1);
    let requests = server.requests();
    assert!(requests.len() <= 2 && requests.last().unwrap().head.contains("x-key: new"), "{requests:?}");
}

#[test]
fn a_secret_that_stays_wrong_is_refused_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    write(&path, "wrong");
    let server = Server::start([]).otherwise(Answer::Status(401));
    let pipeline = start(with_token_of(server.endpoint(), &path), slow_with_fast_retries());
    assert!(admit(pipeline.queue(), 1));
    pipeline.begin_shutdown(std::time::Instant::now() + std::time::Duration::from_millis(500));
    assert!(pipeline.wait_ended(soon()));
    assert!(errors_of(&pipeline.report(), ErrorType::Unauthorized) >= 1);
    assert_eq!(server.requests().len() as u64, errors_of(&pipeline.report(), ErrorType::Unauthorized));
}

#[test]
fn a_client_certificate_that_rotates_is_shown_by_new_connections_over_http_and_grpc() {
    for grpc in [false, true] {
        let certificates = Certificates::make(if grpc { b"h2" } else { b"http/1.1" });
        let (http, rpc) = (Server::start([]), GrpcServer::start([]));
        let front = certificates.in_front_of(if grpc { rpc.address } else { http.address });
        let endpoint = certificates
            .endpoint(front.address)
            .client_certificate(certificates.file("client.pem"), certificates.file("client.key"));
        let options = slow_with_fast_retries();
        let pipeline = if grpc { start_grpc(endpoint, options) } else { start(endpoint, options) };
        assert!(admit(pipeline.queue(), 0));
        flush(&pipeline);
        assert_eq!(front.peers().len(), 1);
        // Half of a pair is no reason to stop.
        let key = std::fs::read_to_string(certificates.file("client.key")).unwrap();
        certificates.write("client.key", &std::fs::read_to_string(certificates.file("other.key")).unwrap());
        assert!(admit(pipeline.queue(), 0));
        flush(&pipeline);
        certificates.write("client.key", &key);
        let renewed = certificates.renew_client();
        let before = pipeline.report().delivered;
        assert_eq!(before, 2);
        let mut number = 0;
        eventually("a connection under the new certificate", || {
            number += 1;
            assert!(admit(pipeline.queue(), number));
            flush(&pipeline);
            front.peers().last().is_some_and(|peer| *peer == renewed)
        });
        let report = end(&pipeline);
        assert_eq!((report.delivered, report.rejected), (before + number, 0), "{report}");
    }
}

#[test]
fn an_authority_that_is_added_later_is_trusted_then() {
    let old = Certificates::with(b"http/1.1", rustls::ALL_VERSIONS, ClientCertificate::NotAsked);
    let new = Certificates::with(b"http/1.1", rustls::ALL_VERSIONS, ClientCertificate::NotAsked);
    let server = Server::start([]);
    let front = old.in_front_of(server.address);
    front.use_certificates(&new);
    let pipeline = start(old.endpoint(front.address), fast());
    assert!(admit(pipeline.queue(), 1));
    eventually("a refusal", || errors_of(&pipeline.report(), ErrorType::Tls) >= 1);
    old.write("authority.pem", &std::fs::read_to_string(new.file("authority.pem")).unwrap());
    eventually("the delivery", || pipeline.report().delivered == 1);
    assert_eq!(server.stored(), [1]);
}
