//! What the routes answer, over no socket.

use std::time::Duration;

use axum::body::Body;
use lgtm_core::sampler::{ChangingSampler, Root};
use tower::ServiceExt as _;

use super::*;
use crate::filter::Filter;

/// Routes over telemetry without signals, which lives as long as what is beside them.
fn admin() -> (Router, crate::Telemetry) {
    let admin = Admin::at(([127, 0, 0, 1], 0).into());
    let filters = Filter::new(&Default::default(), &Default::default()).handle();
    let sampling = Sampling(ChangingSampler::new(Sampler::ParentBased(Root::AlwaysOn)));
    let config = crate::builder().variables([("LGTM_TOKEN".to_owned(), "hunter2".to_owned())]).config().unwrap();
    let telemetry = crate::Telemetry::new(Duration::from_secs(5), filters, sampling, config);
    admin.open(Arc::downgrade(telemetry.running()), telemetry.filters(), telemetry.sampling(), telemetry.config());
    (admin.routes(), telemetry)
}

fn ask(routes: &Router, method: &str, path: &str, content_type: &str, body: &str) -> (StatusCode, String) {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    if !content_type.is_empty() {
        request = request.header(CONTENT_TYPE, content_type);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let answer = routes.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    })
}

fn get(routes: &Router, path: &str) -> serde_json::Value {
    let (status, body) = ask(routes, "GET", path, "", "");
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn filters_are_read_and_changed_one_or_both_as_json_or_lines() {
    let (routes, telemetry) = admin();
    assert_eq!(get(&routes, "/admin/filters"), json!({ "log_filter": "info", "span_filter": "info" }));
    let json = r#"{"log_filter": "warn,shop=debug"}"#;
    let (status, body) = ask(&routes, "PUT", "/admin/filters", "application/json; charset=utf-8", json);
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(body, r#"{"log_filter":"warn,shop=debug","span_filter":"info"}"#);
    let (status, _) =
        ask(&routes, "PUT", "/admin/filters", "text/plain", "span_filter=off,shop=trace\n\nlog_filter = error\n");
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (telemetry.filters().log_filter(), telemetry.filters().span_filter()),
        ("error".to_owned(), "off,shop=trace".to_owned())
    );
}

#[test]
fn a_wrong_filter_is_named_with_the_accepted_form_and_nothing_has_changed() {
    let (routes, telemetry) = admin();
    let json = r#"{"log_filter": "debug", "span_filter": "shop=loud"}"#;
    let (status, body) = ask(&routes, "PUT", "/admin/filters", "application/json", json);
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.contains("span_filter") && body.contains("`shop=loud`") && body.contains("my_crate=debug"), "{body}");
    assert_eq!(telemetry.filters().log_filter(), "info");
    for (content_type, body, part) in [
        ("application/json", "{", "no JSON object"),
        ("application/json", "[]", "no JSON object"),
        ("application/json", "{}", "nothing is to change"),
        ("application/json", r#"{"log_filter": 7}"#, "log_filter: `7` is no text"),
        ("application/json", r#"{"filter": "info"}"#, "`filter` is no setting"),
        ("text/plain", "info", "`info` has no `=`"),
        ("text/plain", "", "nothing is to change"),
    ] {
        let (status, answer) = ask(&routes, "PUT", "/admin/filters", content_type, body);
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(answer.contains(part) && answer.contains("\"log_filter\""), "{answer}");
    }
    for content_type in ["", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let (status, answer) = ask(&routes, "PUT", "/admin/filters", content_type, "log_filter=off");
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert!(answer.contains("application/json"), "{answer}");
    }
    assert_eq!(telemetry.filters().log_filter(), "info");
}

#[test]
fn a_sampler_is_changed_in_the_form_in_which_it_is_shown() {
    let (routes, telemetry) = admin();
    assert_eq!(get(&routes, "/admin/sampling"), json!({ "sampler": "parentbased_always_on" }));
    for sampler in
        ["always_on", "always_off", "traceidratio(0.25)", "parentbased_always_off", "parentbased_traceidratio(0.01)"]
    {
        let body = json!({ "sampler": sampler }).to_string();
        let (status, answer) = ask(&routes, "PUT", "/admin/sampling", "application/json", &body);
        assert_eq!((status, answer), (StatusCode::OK, body));
        assert_eq!(telemetry.sampling().sampler().to_string(), sampler);
    }
    for wrong in
        ["", "sometimes", "traceidratio", "traceidratio(2)", "always_on(1)", "traceidratio(x", "traceidratio()"]
    {
        let (status, answer) = ask(&routes, "PUT", "/admin/sampling", "text/plain", &format!("sampler={wrong}"));
        // A ratio that is left out is 1, as in the specification.
        let expected = if wrong == "traceidratio()" { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        assert_eq!(status, expected, "{wrong}: {answer}");
        assert!(status == StatusCode::OK || answer.contains(&format!("`{wrong}`")), "{answer}");
    }
    assert_eq!(telemetry.sampling().sampler().to_string(), "traceidratio(1)");
}

#[test]
fn the_configuration_shows_no_secret_and_the_report_ends_with_telemetry() {
    let (routes, telemetry) = admin();
    let config = get(&routes, "/admin/config");
    let rows = config.as_array().unwrap();
    let loki = rows.iter().find(|row| row["name"] == "loki.authentication").unwrap();
    assert_eq!((&loki["value"], &loki["source"]), (&json!("bearer ***"), &json!("LGTM_TOKEN")));
    assert!(!config.to_string().contains("hunter2"));
    assert_eq!(get(&routes, "/admin/report"), json!({}));
    assert_eq!(ask(&routes, "POST", "/admin/flush", "", ""), (StatusCode::OK, "{}".to_owned()));
    drop(telemetry);
    let (status, body) = ask(&routes, "GET", "/admin/report", "", "");
    assert_eq!((status, body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "telemetry has ended\n"));
}

#[test]
fn before_telemetry_has_begun_nothing_is_answered_and_other_methods_never() {
    let routes = Admin::at(([127, 0, 0, 1], 0).into()).routes();
    assert_eq!(ask(&routes, "GET", "/admin/filters", "", "").0, StatusCode::SERVICE_UNAVAILABLE);
    for (method, path) in
        [("GET", "/admin/flush"), ("POST", "/admin/filters"), ("DELETE", "/admin/sampling"), ("PUT", "/admin/report")]
    {
        assert_eq!(ask(&routes, method, path, "text/plain", "").0, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
    }
    assert_eq!(ask(&routes, "GET", "/admin", "", "").0, StatusCode::NOT_FOUND);
    let strange = Request::get("/admin/config").header("host", "rebound.example").body(Body::empty()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let status = runtime.block_on(async { routes.oneshot(strange).await.unwrap().status() });
    assert_eq!(status, StatusCode::FORBIDDEN);
}
