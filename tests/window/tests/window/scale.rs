//! Long lists: 100,000 lines and 10,000 traces are scrolled from end to end, and the page stays small.

use serde_json::json;

use crate::browser::{Browser, Size};
use crate::shop;

/// Scrolls the list through all of its height in 60 frames; gives the longest time between two frames, in milliseconds.
const SCROLL: &str = "const [done] = arguments; const list = document.querySelector('.list'); \
    let frame = 0, last = performance.now(), longest = 0; \
    const step = (now) => { longest = Math.max(longest, now - last); last = now; frame++; \
      list.scrollTop = (list.scrollHeight - list.clientHeight) * frame / 60; \
      if (frame < 60) requestAnimationFrame(step); else done(longest); }; \
    requestAnimationFrame((now) => { last = now; requestAnimationFrame(step); });";

async fn scroll(browser: &Browser, what: &str) {
    let longest = browser.run_to_end(SCROLL).await;
    // A figure for those who read it, not a gate: the machine may be doing something else.
    eprintln!("{what}: the longest of 60 frames took {:.0} ms", longest.as_f64().unwrap());
    let rows = browser.ask("document.querySelectorAll('.row').length").await;
    assert!((1..200).contains(&rows.as_u64().unwrap()), "{what}: {rows} rows are in the page");
}

#[tokio::test]
async fn a_hundred_thousand_lines_are_scrolled_and_any_of_them_is_reached() {
    let stack = shop::stack();
    shop::push_many(&stack, 100_000);
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    browser.open("/logs").await;
    browser.until_text(".statusline", "100,000 lines").await;
    scroll(&browser, "100,000 lines").await;
    browser.until_text(".row.log .message", "line 0 of many").await;
    browser.ask("document.querySelector('.list').scrollTop = document.querySelector('.list').scrollHeight / 2").await;
    browser.until_text(".row.log .message", "line 49990 of many").await;
    assert_eq!(browser.ask("document.querySelector('.row').getAttribute('aria-setsize')").await, json!("100000"));
    browser.open("/logs?q=line+777").await;
    // 777, 7770 to 7779, 77700 to 77799.
    browser.until_text(".statusline", "111 lines found").await;
    browser.end().await;
}

#[tokio::test]
async fn ten_thousand_traces_are_scrolled_and_any_of_them_is_reached() {
    let stack = shop::stack();
    shop::many_traces(&stack, 10_000);
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    browser.open("/traces").await;
    browser.until_text(".statusline", "10,000 traces").await;
    browser.until("document.querySelector('.scatter canvas')").await;
    browser.shoot("many-traces").await;
    scroll(&browser, "10,000 traces").await;
    browser.until_text(".row.trace .name", "request 0").await;
    browser.click(".row.trace .name", "request 0").await;
    browser.until_text(".failure", "it failed").await;
    browser.open("/traces?min=990ms&status=error").await;
    browser.until_text(".statusline", "found").await;
    browser.end().await;
}
