//! What a person does: follows links between the signals, searches, watches lines come, uses the keyboard alone.

use serde_json::json;

use crate::browser::{Browser, Size};
use crate::shop;

#[tokio::test]
async fn from_a_metric_to_its_exemplar_to_the_trace_to_its_lines_by_clicking_only() {
    let stack = shop::stack();
    shop::run(&stack);
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    browser.open("/").await;
    browser.click("nav a", "Metrics").await;
    browser.click(".row .metric-name", "shop_order_duration_seconds").await;
    browser.until("document.querySelectorAll('a.exemplar').length > 5").await;
    // The slowest: the dot that lies highest.
    let highest = browser
        .ask(
            "(() => { const dots = [...document.querySelectorAll('a.exemplar')]; \
             dots.sort((a, b) => parseFloat(a.style.top) - parseFloat(b.style.top)); \
             dots[0].id = 'slowest'; return dots[0].getAttribute('href'); })()",
        )
        .await;
    browser.click("#slowest", "").await;
    browser.until_text(".row .span-title", "SELECT stock").await;
    let path = browser.ask("location.pathname").await;
    assert_eq!(path, highest);
    // The span of the exemplar is selected and shown whole, its line in place.
    browser.until_text(".details h2", "POST /orders").await;
    browser.until_text(".row.span-log .message", "taken").await;
    browser.until("document.querySelectorAll('.critical').length > 3").await;
    browser.click(".trace-head a", "all its lines").await;
    browser.until_text(".statusline", "found").await;
    browser.until_text(".row.log .message", "looking for sku 221").await;
    let trace = path.as_str().unwrap().split('/').nth(2).unwrap().to_owned();
    assert_eq!(browser.ask("new URLSearchParams(location.search).get('trace')").await, json!(trace));
    browser.click(".row.log .chip", "trace").await;
    browser.until(&format!("location.pathname.startsWith('/traces/{trace}/')")).await;
    browser.end().await;
}

#[tokio::test]
async fn a_failed_trace_says_at_once_what_failed_and_where() {
    let stack = shop::stack();
    shop::run(&stack);
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    browser.open("/traces?status=error&service=inventory").await;
    browser.until_text(".statusline", "8 traces found").await;
    browser.click(".row .name", "POST /orders").await;
    browser.until_text(".failure", "3 spans failed: inventory: POST /reservations").await;
    browser.until_text(".failure", "sku 221 is out of stock").await;
    browser.until("document.querySelectorAll('.row.span.failed').length === 3").await;
    browser.click(".failure a", "inventory").await;
    browser.until_text(".details", "exception.type").await;
    // From a value of an attribute to the traces that have it too.
    browser.click(".details .attributes .find", "").await;
    browser.until("location.pathname === '/traces' && location.search.includes('attr=')").await;
    browser.until_text(".statusline", "found").await;
    browser.end().await;
}

#[tokio::test]
async fn lines_come_by_themselves_and_do_not_move_under_one_who_reads() {
    let stack = shop::stack();
    shop::push_many(&stack, 500);
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    browser.open("/logs?level=info&level=error").await;
    browser.until_text(".row.log .message", "line 499 of many").await;
    browser.until("document.querySelector('.store b')").await;
    shop::push(&stack, &[(0, "inventory", "error", "the first of the new ones", None)]);
    browser.until_text(".row.log:first-child .message", "the first of the new ones").await;
    browser.until_text(".statusline", "501 lines").await;
    // What the filter leaves out is not told.
    shop::push(&stack, &[(0, "inventory", "debug", "not asked for", None)]);
    browser.ask("document.querySelector('.list').scrollTop = 4000").await;
    browser.until_text(".row.log .message", "line 340 of many").await;
    let place = "document.querySelector('.list').scrollTop";
    let reads = "document.elementFromPoint(500, 400).closest('.row').textContent";
    let (before, text) = (browser.ask(place).await, browser.ask(reads).await);
    shop::push(
        &stack,
        &[(0, "inventory", "error", "a second one", None), (0, "inventory", "error", "a third one", None)],
    );
    browser.until_text(".news", "2 new lines").await;
    assert_eq!((browser.ask(place).await, browser.ask(reads).await), (before, text));
    browser.click(".news", "2 new lines").await;
    browser.until_text(".row.log:first-child .message", "one").await;
    browser.until_text(".statusline", "503 lines").await;
    assert_eq!(browser.ask("document.body.textContent.includes('not asked for')").await, json!(false));
    browser.click("button.live", "live").await;
    browser.until("location.search.includes('live=off')").await;
    shop::push(&stack, &[(0, "inventory", "error", "while it stands still", None)]);
    browser.until("document.querySelector('.store').textContent.includes('505')").await;
    assert_eq!(browser.ask("document.body.textContent.includes('while it stands still')").await, json!(false));
    browser.end().await;
}

#[tokio::test]
async fn pages_stand_still_while_they_are_paused_and_go_on_where_they_were() {
    let stack = shop::stack();
    shop::push(&stack, &[(0, "inventory", "info", "before the pause", None)]);
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    browser.open("/logs").await;
    browser.until_text(".row.log .message", "before the pause").await;
    browser.until("document.querySelector('.store b')").await;
    browser.press("p").await;
    browser.until_text(".store", "paused").await;
    shop::push(&stack, &[(0, "inventory", "info", "during the pause", None)]);
    // What was told would be there by the time of an answer that was asked for later.
    browser.run_to_end("fetch('/api/v1/overview').then(() => setTimeout(arguments[0], 600))").await;
    assert_eq!(browser.ask("document.body.textContent.includes('during the pause')").await, json!(false));
    browser.click(".controls button", "resume").await;
    browser.until_text(".row.log:first-child .message", "during the pause").await;
    browser.until_text(".statusline", "2 lines").await;
    assert_eq!(browser.ask("document.querySelector('.store').textContent.includes('paused')").await, json!(false));
    browser.end().await;
}

#[tokio::test]
async fn what_is_held_is_forgotten_after_a_question_and_what_comes_then_is_shown() {
    let stack = shop::stack();
    shop::run(&stack);
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    browser.open("/logs").await;
    browser.until_text(".row.log .message", "order 39 taken").await;
    browser.click(".controls button", "clear").await;
    browser.until_text("dialog p", "lines").await;
    browser.press("\n").await;
    browser.until("!document.querySelector('dialog')").await;
    assert!(stack.counts().logs.held > 40, "who only presses enter keeps it");
    browser.click(".controls button", "clear").await;
    browser.click("dialog button", "forget it").await;
    browser.until_text("main", "No log line has arrived").await;
    assert_eq!(stack.counts().logs.held, 0);
    shop::push(&stack, &[(0, "inventory", "info", "a new beginning", None)]);
    browser.until_text(".row.log .message", "a new beginning").await;
    browser.until_text(".statusline", "1 line").await;
    for (page, text) in [("Traces", "No span has arrived"), ("Metrics", "No sample has arrived")] {
        browser.click("nav a", page).await;
        browser.until_text("main", text).await;
    }
    browser.end().await;
}

#[tokio::test]
async fn a_search_is_an_address_and_a_mistake_in_it_is_told() {
    let stack = shop::stack();
    shop::run(&stack);
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    browser.open("/logs").await;
    browser.click("input[name=q]", "").await;
    browser.press("tomorrow").await;
    browser.until_text(".statusline", "8 lines found").await;
    assert_eq!(browser.ask("location.search").await, "?q=tomorrow");
    browser.press("\u{1b}").await;
    browser.click(".levels button", "error").await;
    browser.until_text("main", "No line satisfies all conditions").await;
    browser.open("/logs?regex=order+%5Cd%2B+taken&attr=customer%3Dc-3").await;
    browser.until_text(".statusline", "6 lines found").await;
    browser.click(".condition", "customer=c-3").await;
    browser.until_text(".statusline", "40 lines found").await;
    browser.click("input[name=regex]", "").await;
    browser.press("(").await;
    browser.until_text(".problem", "accepted: a regular expression").await;
    browser.end().await;
}

#[tokio::test]
async fn everything_is_reached_by_the_keyboard_alone() {
    let stack = shop::stack();
    shop::run(&stack);
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    browser.open("/").await;
    browser.until_text(".services", "inventory").await;
    browser.press("gl").await;
    browser.until_text(".row.log .message", "order 39 taken").await;
    browser.press("/out of\n").await;
    browser.until_text(".statusline", "8 lines found").await;
    browser.press("jj\n").await;
    browser.until("location.pathname.startsWith('/logs/')").await;
    browser.until_text(".details", "out of stock").await;
    browser.press("k").await;
    browser.until("document.querySelectorAll('.row')[0].classList.contains('selected')").await;
    browser.press("\u{1b}").await;
    browser.until("location.pathname === '/logs'").await;
    browser.press("gt").await;
    browser.until_text(".row .name", "POST /orders").await;
    browser.press("j\n").await;
    browser.until_text(".row .span-title", "SELECT stock").await;
    browser.press("jjj\n").await;
    browser.until("location.pathname.split('/').length === 4").await;
    browser.press("\u{1b}").await;
    browser.until("location.pathname.split('/').length === 3").await;
    browser.press("\u{1b}").await;
    browser.until("location.pathname === '/traces'").await;
    browser.press("gm").await;
    browser.until_text(".metric-name", "shop_stock").await;
    browser.press("/stock\n").await;
    browser.until_text(".statusline", "1 metric found").await;
    browser.press("j\n").await;
    browser.until("location.pathname === '/metrics/shop_stock'").await;
    browser.press("gs").await;
    browser.until_text(".node-name", "storefront").await;
    browser.press("gi").await;
    browser.until("location.pathname === '/import' && document.querySelector('input[type=file]')").await;
    browser.press("?").await;
    browser.until("document.querySelector('dialog[open]')").await;
    browser.press("\u{1b}").await;
    browser.until("!document.querySelector('dialog[open]')").await;
    browser.end().await;
}

#[tokio::test]
async fn markup_in_what_programs_say_is_text() {
    let stack = shop::stack();
    let trace = shop::trace_id(0);
    let metadata = Some((trace.as_str(), "00000000000000aa"));
    shop::push(&stack, &[(0, shop::HOSTILE, "error", shop::HOSTILE, metadata)]);
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    let clean = "!window.hacked && !document.querySelector('main img, main script, main b[onclick], .message b')";
    for address in ["/", "/logs", "/logs/0"] {
        browser.open(address).await;
        browser.until_text("main", shop::HOSTILE).await;
        assert_eq!(browser.ask(clean).await, json!(true), "{address}");
    }
    browser.end().await;
}

#[tokio::test]
async fn the_theme_is_switched_and_kept() {
    let stack = shop::stack();
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    browser.open("/logs").await;
    browser.until("document.querySelector('button.theme')").await;
    let ground = "getComputedStyle(document.body).backgroundColor";
    browser.click("button.theme", "auto").await;
    let light = browser.ask(ground).await;
    browser.click("button.theme", "light").await;
    let dark = browser.ask(ground).await;
    assert_ne!(light, dark);
    browser.open("/traces").await;
    browser.until_text("button.theme", "dark").await;
    assert_eq!(browser.ask(ground).await, dark);
    browser.end().await;
}

#[tokio::test]
async fn the_chosen_theme_is_there_before_the_page_is() {
    let stack = shop::stack();
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    browser.open("/logs").await;
    browser.until("document.querySelector('button.theme')").await;
    let ground = "getComputedStyle(document.body).backgroundColor";
    browser.ask("localStorage.setItem('theme', 'dark')").await;
    browser.open("/logs").await;
    browser.until_text("button.theme", "dark").await;
    let dark = browser.ask(ground).await;
    // What is drawn first: the page's script has not run.
    browser.block(&["*/assets/window.js"]).await;
    browser.open("/logs").await;
    assert_eq!(browser.ask("document.querySelector('button')").await, json!(null));
    assert_eq!(browser.ask(ground).await, dark);
    browser.ask("localStorage.setItem('theme', 'light')").await;
    browser.open("/logs").await;
    assert_ne!(browser.ask(ground).await, dark);
    browser.block(&[]).await;
    browser.forget_complaints().await;
    browser.end().await;
}
