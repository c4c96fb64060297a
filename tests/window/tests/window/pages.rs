//! Every page, in two sizes and both themes: it has what was sent, nothing sticks out of it, its text can be read, and the browser has
//! nothing to complain of.

use serde_json::json;

use crate::browser::{Browser, Size};
use crate::{contrast, shop};

/// Each page: its name, its address, and what it shows once it is there.
fn pages() -> Vec<(&'static str, String, &'static str, &'static str)> {
    let failed = shop::trace_id(4);
    vec![
        ("overview", "/".to_owned(), ".services", "inventory"),
        ("logs", "/logs".to_owned(), ".row .message", "order 39 taken"),
        ("log-line", "/logs/0?level=info&level=error".to_owned(), ".details", "Fields"),
        ("traces", "/traces".to_owned(), ".row .name", "POST /orders"),
        ("trace", format!("/traces/{failed}"), ".row .span-title", "SELECT stock"),
        ("span", format!("/traces/{failed}/{:016x}", 5 << 8 | 4), ".details", "OutOfStock"),
        ("metrics", "/metrics".to_owned(), ".metric-name", "shop_order_duration_seconds"),
        ("histogram", "/metrics/shop_order_duration_seconds".to_owned(), ".legend", "median"),
        ("counter", "/metrics/shop_orders_total?by=outcome".to_owned(), ".legend", "outcome=refused"),
        ("map", "/map".to_owned(), ".node-name", "postgresql"),
        ("import", "/import".to_owned(), ".drop", "Choose files"),
    ]
}

async fn look(size: Size, theme: &str) {
    let stack = shop::stack();
    shop::run(&stack);
    let Some(browser) = Browser::start(&stack.window_url(), size).await else { return };
    browser.open("/").await;
    browser.ask(&format!("localStorage.setItem('theme', {})", json!(theme))).await;
    for (name, address, selector, text) in pages() {
        browser.open(&address).await;
        browser.until_text(selector, text).await;
        if matches!(name, "histogram" | "counter") {
            browser.until("document.querySelector('.chart canvas')").await;
        }
        browser.shoot(&format!("{name}-{}-{theme}", if size == Size::Desk { "desk" } else { "telephone" })).await;
        let wide = browser.ask("document.documentElement.scrollWidth - innerWidth").await;
        assert!(wide.as_f64().unwrap() <= 0.0, "{name} is {wide} pixels too wide");
        contrast::check(&browser, &format!("{name} {size:?} {theme}")).await;
        let unnamed = "[...document.querySelectorAll('button, a, input, select')].filter((one) => \
            !(one.textContent.trim() || one.getAttribute('aria-label') || one.title || one.closest('label')?.textContent.trim())).length";
        assert_eq!(browser.ask(unnamed).await, 0, "{name}: something that can be operated has no name");
    }
    browser.end().await;
}

#[tokio::test]
async fn every_page_is_whole_and_readable_on_a_desk_in_light() {
    look(Size::Desk, "light").await;
}

#[tokio::test]
async fn every_page_is_whole_and_readable_on_a_desk_in_the_dark() {
    look(Size::Desk, "dark").await;
}

#[tokio::test]
async fn every_page_is_whole_and_readable_on_a_telephone_in_light() {
    look(Size::Telephone, "light").await;
}

#[tokio::test]
async fn every_page_is_whole_and_readable_on_a_telephone_in_the_dark() {
    look(Size::Telephone, "dark").await;
}

#[tokio::test]
async fn a_stack_without_anything_says_on_each_page_what_would_be_there() {
    let stack = shop::stack();
    let Some(browser) = Browser::start(&stack.window_url(), Size::Desk).await else { return };
    for (address, text) in [
        ("/", "Nothing has arrived"),
        ("/logs", "No log line has arrived"),
        ("/traces", "No span has arrived"),
        ("/metrics", "No sample has arrived"),
        ("/map", "No span in this time"),
        ("/import", "Nothing was imported yet"),
        ("/traces/0123456789abcdef0123456789abcdef", "This trace is not here"),
    ] {
        browser.open(address).await;
        browser.until_text("main", text).await;
    }
    browser.end().await;
}
