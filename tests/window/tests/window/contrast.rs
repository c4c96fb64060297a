//! Contrast of all text in sight with what is behind it, as WCAG 2 measures it.

use crate::browser::Browser;

/// What WCAG's level AA asks of text of usual size.
const LEAST: f64 = 4.5;

/// Gives `[[ratio, text, colour, ground], …]` of the text whose contrast is too low.
const MEASURE: &str = r#"(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  };
  const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
  };
  const luminance = ([red, green, blue]) => {
    const part = (value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    const box = element.getBoundingClientRect();
    if (text === "" || box.width < 2 || box.height < 2 || element.closest(".hidden, svg, option, noscript")) continue;
    const behind = ground(element);
    const front = over(parse(getComputedStyle(element).color), behind);
    const [one, other] = [luminance(front), luminance(behind)].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < LEAST) found.push([ratio, text.slice(0, 40), element.className, behind.join()]);
  }
  return found.slice(0, 20);
})()"#;

pub(crate) async fn check(browser: &Browser, what: &str) {
    let low = browser.ask(&MEASURE.replace("LEAST", &LEAST.to_string())).await;
    assert_eq!(low, serde_json::json!([]), "{what}");
}
