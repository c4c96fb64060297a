//! Files: exported by clicking, taken back by choosing or dropping them, and what a file may not do to the page.

use lgtm_devstack::Devstack;
use serde_json::{Value, json};

use crate::browser::{Browser, Size};
use crate::{contrast, shop};

/// The rows of a trace as they are seen: names, lengths, where the bars are.
const WATERFALL: &str = "[...document.querySelectorAll('.waterfall .row')].map((row) => \
    [row.textContent, ...[...row.querySelectorAll('.bar, .critical, .event')].map((part) => part.getAttribute('style'))])";

/// Has a page take a file that exists nowhere but in it; `content` is an expression of JavaScript.
async fn drop_file(browser: &Browser, name: &str, content: &str) {
    let name = json!(name);
    let drop = format!(
        "(() => {{ const data = new DataTransfer(); data.items.add(new File([{content}], {name})); \
         for (const kind of ['dragover', 'drop']) document.body.dispatchEvent( \
         new DragEvent(kind, {{ dataTransfer: data, bubbles: true, cancelable: true }})); return true; }})()"
    );
    assert_eq!(browser.ask(&drop).await, json!(true));
}

async fn whole(browser: &Browser, what: &str) {
    let wide = browser.ask("document.documentElement.scrollWidth - innerWidth").await;
    assert!(wide.as_f64().unwrap() <= 0.0, "{what} is {wide} pixels too wide");
    contrast::check(browser, what).await;
}

#[tokio::test]
async fn a_trace_that_was_exported_by_a_click_is_the_same_waterfall_in_a_fresh_stack() {
    let stack = shop::stack();
    shop::run(&stack);
    let trace = shop::trace_id(4);
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    let path = format!("/traces/{trace}?logs=off");
    browser.open(&path).await;
    browser.until_text(".row .span-title", "SELECT stock").await;
    browser.until("document.querySelectorAll('.critical').length > 3").await;
    let before = browser.ask(WATERFALL).await;
    assert_eq!(before.as_array().unwrap().len(), 6);
    browser.click(".trace-head a", "Export OTLP JSON").await;
    let file = browser.downloaded(&format!("trace-{trace}.json")).await;
    let exported: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(exported["resourceSpans"].as_array().unwrap().len(), 2, "{exported}");
    assert_eq!(browser.ask("location.pathname").await, json!(format!("/traces/{trace}")), "the page stays");
    browser.end().await;

    let fresh = shop::stack();
    let Some(browser) = Browser::start(&fresh.window_url(), Size::Desk).await else { return };
    browser.open("/").await;
    browser.click("nav a", "Import").await;
    browser.until_text("main", "Nothing was imported yet").await;
    browser.choose("input[type=file]", "saved.json", file.as_bytes()).await;
    browser.until_text(".imports li", "saved.json").await;
    browser.until_text(".imports tbody tr", "spans6000").await;
    browser.click(".imports a", "trace 5eed").await;
    browser.until_text(".row .span-title", "SELECT stock").await;
    browser.open(&path).await;
    browser.until("document.querySelectorAll('.critical').length > 3").await;
    assert_eq!(browser.ask(WATERFALL).await, before);
    // Again: it is there already.
    browser.open("/import").await;
    browser.choose("input[type=file]", "saved.json", file.as_bytes()).await;
    browser.until_text(".imports tbody tr", "spans0600").await;
    browser.end().await;
}

#[tokio::test]
async fn lines_and_traces_that_are_found_are_exported_and_found_again_after_they_were_dropped_on_the_window() {
    let stack = shop::stack();
    shop::run(&stack);
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    browser.open("/logs?level=error&level=warn").await;
    browser.until_text(".statusline", "16 lines found").await;
    let shown = "[...document.querySelectorAll('.row.log')].map((row) => row.textContent)";
    let before = browser.ask(shown).await;
    browser.click(".statusline a", "Export JSON lines").await;
    let lines = browser.downloaded("logs.jsonl").await;
    assert_eq!(lines.lines().count(), 16);
    browser.open("/traces?status=error").await;
    browser.until_text(".statusline", "8 traces found").await;
    browser.click(".statusline a", "Export these").await;
    let traces = browser.downloaded("traces.jsonl").await;
    assert_eq!(traces.lines().count(), 8);
    browser.end().await;

    let fresh = shop::stack();
    let Some(browser) = Browser::start(&fresh.window_url(), Size::Desk).await else { return };
    // Wherever one is.
    browser.open("/metrics").await;
    browser.until_text("main", "No sample has arrived").await;
    drop_file(&browser, "logs.jsonl", &json!(lines).to_string()).await;
    browser.until("location.pathname === '/import'").await;
    browser.until_text(".imports tbody tr", "log lines16000").await;
    drop_file(&browser, "traces.jsonl", &json!(traces).to_string()).await;
    browser.until_text(".imports tbody tr", "spans48000").await;
    browser.shoot("import-told-desk-light").await;
    browser.click(".imports a", "its log lines").await;
    browser.until_text(".statusline", "16 lines found").await;
    assert_eq!(browser.ask(shown).await, before);
    browser.open("/traces?status=error").await;
    browser.until_text(".statusline", "8 traces found").await;
    browser.end().await;
}

#[tokio::test]
async fn a_file_is_chosen_by_the_keyboard_and_the_way_to_what_was_in_it_too() {
    let stack = shop::stack();
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    browser.open("/").await;
    browser.until_text("main", "Nothing has arrived").await;
    browser.press("gi").await;
    browser.until("document.querySelector('input[type=file]')").await;
    browser.ask("document.querySelector('main').focus()").await;
    browser.press("\t").await;
    assert_eq!(browser.ask("document.activeElement.name").await, "files");
    let named = browser.ask("document.activeElement.labels[0].textContent").await;
    assert!(named.as_str().unwrap().contains("Choose files"), "{named}");
    let file =
        json!({ "line": "from a file", "timestamp": "2019-03-04T05:06:07Z", "labels": { "app": "old" } }).to_string();
    browser.choose("input[type=file]", "one.jsonl", file.as_bytes()).await;
    browser.until_text(".imports tbody tr", "log lines1000").await;
    browser.ask("document.querySelector('input[type=file]').focus()").await;
    browser.press("\t").await;
    browser.until_text("*:focus", "its log lines").await;
    browser.press("\n").await;
    browser.until_text(".row.log .message", "from a file").await;
    browser.end().await;
}

/// Lines of which every one has something wrong, markup in its text.
fn hostile_lines() -> String {
    let mut lines: Vec<String> =
        (0..12).map(|_| json!({ "line": "x", "timestamp": shop::HOSTILE }).to_string()).collect();
    lines.push(json!({ "line": shop::HOSTILE, "timestamp": "2019-03-04T05:06:07Z", "labels": { "service_name": shop::HOSTILE } }).to_string());
    lines.join("\n")
}

async fn told_on(size: Size, theme: &str) {
    let stack = shop::stack();
    let Some(browser) = Browser::start(&stack.window_url(), size).await else { return };
    browser.open("/import").await;
    browser.ask(&format!("localStorage.setItem('theme', {})", json!(theme))).await;
    browser.open("/import").await;
    browser.until("document.querySelector('input[type=file]')").await;
    drop_file(&browser, &format!("{}.jsonl", shop::HOSTILE), &json!(hostile_lines()).to_string()).await;
    browser.until_text(".imports", "12 lines with something that was refused; the first 10:").await;
    browser.until_text(".imports li li", "line 10: timestamp").await;
    drop_file(&browser, "not a file of ours.txt", "'hello'").await;
    browser.until_text(".imports .problem", "Nothing was taken: line 1: it is not JSON").await;
    browser.shoot(&format!("import-refused-{}-{theme}", if size == Size::Desk { "desk" } else { "telephone" })).await;
    whole(&browser, &format!("import {size:?} {theme}")).await;
    let clean = "!window.hacked && !document.querySelector('main img, main script, main b[onclick], .imports b')";
    assert_eq!(browser.ask(clean).await, json!(true));
    browser.click(".imports a", "its log lines").await;
    browser.until_text(".row.log .message", shop::HOSTILE).await;
    assert_eq!(browser.ask("!window.hacked && !document.querySelector('.row img, .row script')").await, json!(true));
    // While something is held over the window.
    let over = "document.body.dispatchEvent(new DragEvent('dragover', { dataTransfer: (() => { const data = new DataTransfer(); \
        data.items.add(new File(['x'], 'x')); return data; })(), bubbles: true, cancelable: true }))";
    browser.ask(over).await;
    browser.until_text(".dropping", "Drop files to import them").await;
    whole(&browser, &format!("dropping {size:?} {theme}")).await;
    browser.ask("document.body.dispatchEvent(new DragEvent('dragleave', { bubbles: true }))").await;
    browser.until("!document.querySelector('.dropping')").await;
    browser.end().await;
}

#[tokio::test]
async fn what_was_refused_is_told_readably_and_markup_in_it_is_text_on_a_desk_in_light() {
    told_on(Size::Desk, "light").await;
}

#[tokio::test]
async fn what_was_refused_is_told_readably_and_markup_in_it_is_text_on_a_telephone_in_the_dark() {
    told_on(Size::Telephone, "dark").await;
}

#[tokio::test]
async fn no_file_breaks_the_page_however_long_deep_or_binary_it_is() {
    let stack: Devstack = shop::stack();
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    browser.open("/import").await;
    browser.until("document.querySelector('input[type=file]')").await;
    for (name, content, told) in [
        ("long.json", "...Array(100).fill('x'.repeat(1 << 20))", "it is longer than 33554432 bytes"),
        ("deep.json", "'{\"resourceSpans\":' + '['.repeat(5000000)", "Nothing was taken"),
        ("binary.bin", "Uint8Array.from({ length: 1 << 20 }, (_, at) => (at * 2654435761) >> 11)", "it is not JSON"),
        ("empty.json", "''", "the body is empty"),
        ("other.json", "'{\"hello\": 1}'", "its form is not recognised; accepted: OTLP JSON"),
    ] {
        drop_file(&browser, name, content).await;
        browser.until(&format!("document.querySelector('.imports h2').textContent.startsWith({})", json!(name))).await;
        browser.until("document.querySelector('.imports li').matches('.is-failed')").await;
        browser.until_text(".imports li:first-child .problem", told).await;
    }
    // 100 MB of lines are taken; what does not fit is told.
    let line = json!({ "line": "x".repeat(1000), "timestamp": "2019-03-04T05:06:07Z" }).to_string();
    let (head, tail) = line.split_once("xxx").unwrap();
    let many = format!(
        "...Array.from({{ length: 100000 }}, (_, at) => {} + String(at) + {})",
        json!(head),
        json!(format!("{tail}\n"))
    );
    drop_file(&browser, "many.jsonl", &many).await;
    browser.until_text(".imports li:first-child tbody tr", "log lines100,000").await;
    assert_eq!(stack.counts().logs.received, 100_000);
    browser.press("gl").await;
    browser.until_text(".statusline", "100,000 lines").await;
    browser.end().await;
}

#[tokio::test]
async fn old_lines_that_are_imported_while_one_follows_the_new_ones_take_their_place_below() {
    let stack = shop::stack();
    shop::push(&stack, &[(20, "shop", "info", "one", None), (10, "shop", "info", "two", None)]);
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    browser.open("/logs").await;
    browser.until_text(".statusline", "2 lines").await;
    browser.until("document.querySelector('.store').textContent.includes('2')").await;
    let line =
        json!({ "line": "from a file", "timestamp": "2019-03-04T05:06:07Z", "labels": { "app": "old" } }).to_string();
    let sent = browser
        .run_to_end(&format!(
            "fetch('/api/v1/import', {{ method: 'POST', headers: {{ 'content-type': 'application/json' }}, body: {} }}) \
             .then((answer) => arguments[0](answer.status))",
            json!(line)
        ))
        .await;
    assert_eq!(sent, 200);
    browser.until_text(".statusline", "3 lines").await;
    browser.until_text(".row.log .message", "from a file").await;
    shop::push(&stack, &[(0, "shop", "info", "three", None)]);
    browser.until_text(".row.log:first-child .message", "three").await;
    let shown = browser.ask("[...document.querySelectorAll('.row.log')].map((row) => [parseFloat(row.style.top || 0), row.querySelector('.message').textContent])").await;
    let mut shown: Vec<(f64, String)> = serde_json::from_value(shown).unwrap();
    shown.sort_by(|one, other| one.0.total_cmp(&other.0));
    let texts: Vec<&str> = shown.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["three", "two", "one", "from a file"]);
    browser.end().await;
}
