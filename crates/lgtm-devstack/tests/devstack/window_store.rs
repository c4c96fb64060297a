//! The store as a whole, as the window's page asks for it: what is held, and its end.

use http::Method;
use lgtm_devstack::Devstack;
use serde_json::{Value, json};

use crate::client::{entry, get_json, http, now_ns, push_logs, stream};

async fn push(stack: &Devstack, line: &str) {
    let stream = stream(r#"{service_name="shop"}"#, vec![entry(now_ns(), line, &[])]);
    assert_eq!(push_logs(&stack.loki_url(), vec![stream]).await.0, 204);
}

async fn clear(stack: &Devstack, headers: &[(&str, &str)]) -> (u16, Value) {
    let mut request = http().request(Method::DELETE, format!("{}/api/v1/store", stack.window_url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

#[tokio::test]
async fn what_is_held_is_forgotten_on_request_and_numbers_of_lines_are_not_given_again() {
    let stack = Devstack::start().await.unwrap();
    let api = format!("{}/api/v1", stack.window_url());
    push(&stack, "one").await;
    push(&stack, "two").await;
    assert_eq!(get_json(&format!("{api}/store"), &[]).await["logs"]["held"], 2);
    let (status, held) = clear(&stack, &[]).await;
    assert_eq!((status, &held["logs"]["held"]), (200, &json!(2)), "it says what went");
    assert_eq!(stack.counts().logs, lgtm_devstack::SignalCounts::default());
    assert_eq!(get_json(&format!("{api}/logs"), &[]).await["total"], 0);
    assert_eq!(get_json(&format!("{api}/services"), &[]).await["services"], json!([]));
    push(&stack, "three").await;
    let rows = get_json(&format!("{api}/logs"), &[]).await;
    assert_eq!((&rows["total"], &rows["rows"][0]["id"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn no_page_of_another_site_or_port_empties_the_store() {
    let stack = Devstack::start().await.unwrap();
    push(&stack, "one").await;
    for headers in [
        &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")][..],
        &[("sec-fetch-site", "same-site"), ("origin", "http://127.0.0.1:3000")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
    ] {
        assert_eq!(clear(&stack, headers).await.0, 403, "{headers:?}");
    }
    // A page asks for leave first; none is given.
    let asking = http()
        .request(Method::OPTIONS, format!("{}/api/v1/store", stack.window_url()))
        .header("origin", "http://127.0.0.1:3000")
        .header("access-control-request-method", "DELETE");
    let answer = asking.send().await.unwrap();
    assert!(!answer.status().is_success() && !answer.headers().contains_key("access-control-allow-origin"));
    assert_eq!(stack.counts().logs.held, 1);
    let own = stack.window_url();
    assert_eq!(clear(&stack, &[("sec-fetch-site", "same-origin"), ("origin", &own)]).await.0, 200);
}
