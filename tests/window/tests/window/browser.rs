//! One Chromium with its driver for a test; one test at a time has one.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fantoccini::actions::{InputSource as _, KeyAction, KeyActions};
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, MutexGuard};

/// Long enough for a loaded machine; no test waits for it when all is well.
const DEADLINE: Duration = Duration::from_secs(60);

/// Browsers share two cores with whatever else is tested: one at a time is quickest.
static TURN: Mutex<()> = Mutex::const_new(());

/// The two sizes that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Desk,
    Telephone,
}

pub(crate) struct Browser {
    client: Client,
    base: String,
    driver: Child,
    /// Port of the driver and name of the session, to end the browser also where a test fails.
    session: (u16, String),
    /// Its profile, what it downloads, and what it leaves behind.
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The driver and its port; `None` if it ends before it says that. It and its browser have their temporary files in `folder`.
async fn start_driver(program: &Path, folder: &Path) -> Option<(Child, u16)> {
    let mut command = Command::new(program);
    command.env("TMPDIR", folder).arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut driver = command.spawn().unwrap();
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let words = line.split("started successfully on port ").nth(1);
            if let Some(port) = words.and_then(|rest| rest.trim_end_matches('.').parse::<u16>().ok()) {
                return Some(port);
            }
        }
        None
    };
    let port = tokio::time::timeout(DEADLINE, port).await.unwrap()?;
    Some((driver, port))
}

impl Browser {
    /// A browser, or `None` where there is none and none is required.
    pub(crate) async fn start(base: &str, size: Size) -> Option<Self> {
        let (Some(chromium), Some(driver)) = (on_path("chromium"), on_path("chromedriver")) else {
            assert!(
                std::env::var("LGTM_BROWSER").as_deref() != Ok("require"),
                "chromium and chromedriver must be on the path: Debian's packages chromium and chromium-driver"
            );
            eprintln!("skipped: chromium and chromedriver are not on the path");
            return None;
        };
        let turn = TURN.lock().await;
        let folder = tempfile::tempdir().unwrap();
        // It takes one free port for both families of addresses, which in one of them may be taken: then it ends.
        let mut started = None;
        for _ in 0..5 {
            started = start_driver(&driver, folder.path()).await;
            if started.is_some() {
                break;
            }
        }
        let (driver, port) = started.expect("chromedriver ends at its start");
        let mut options = json!({
            "binary": chromium,
            // Tests run as root in containers, where Chromium's sandbox cannot be made.
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,860",
                "--force-color-profile=srgb", "--hide-scrollbars=false",
                format!("--user-data-dir={}", folder.path().join("profile").display())],
            "prefs": { "download.default_directory": folder.path().join("downloads"), "download.prompt_for_download": false },
        });
        if size == Size::Telephone {
            let metrics = json!({ "width": 360, "height": 740, "pixelRatio": 2.0, "touch": true });
            options["mobileEmulation"] = json!({ "deviceMetrics": metrics });
        }
        let mut capabilities = Capabilities::new();
        capabilities.insert("goog:chromeOptions".to_owned(), options);
        capabilities.insert("goog:loggingPrefs".to_owned(), json!({ "browser": "ALL" }));
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap();
        let session = (port, client.session_id().await.unwrap().unwrap_or_default());
        Some(Self { client, base: base.to_owned(), driver, session, folder, _turn: turn })
    }

    pub(crate) async fn open(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.base)).await.unwrap();
    }

    /// What an expression of JavaScript gives.
    pub(crate) async fn ask(&self, expression: &str) -> Value {
        self.client.execute(&format!("return ({expression})"), Vec::new()).await.unwrap()
    }

    /// What a script of JavaScript gives to the function that it finds as its last argument.
    pub(crate) async fn run_to_end(&self, script: &str) -> Value {
        self.client.execute_async(script, Vec::new()).await.unwrap()
    }

    /// Waits until an expression is true.
    pub(crate) async fn until(&self, expression: &str) {
        let waiting = async {
            while self.ask(&format!("!!({expression})")).await != json!(true) {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        };
        if tokio::time::timeout(DEADLINE, waiting).await.is_err() {
            let text = self.ask("location.href + '\\n' + document.body.innerText").await;
            panic!("never became true: {expression}\n{}", text.as_str().unwrap_or_default());
        }
    }

    /// Waits until an element has a text.
    pub(crate) async fn until_text(&self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        self.until(&format!(
            "[...document.querySelectorAll({selector})].some((one) => one.textContent.includes({text}))"
        ))
        .await;
    }

    /// Clicks the first element of a selector that has a text, as a pointer does.
    pub(crate) async fn click(&self, selector: &str, text: &str) {
        self.until_text(selector, text).await;
        let (quoted, text) = (json!(selector), json!(text));
        let at = self
            .ask(&format!(
                "[...document.querySelectorAll({quoted})].findIndex((one) => one.textContent.includes({text}))"
            ))
            .await;
        let found = self.client.find_all(Locator::Css(selector)).await.unwrap();
        let element = found.into_iter().nth(usize::try_from(at.as_u64().unwrap()).unwrap()).unwrap();
        element.click().await.unwrap();
    }

    /// Keys as a person types them; `\n` is enter and `\u{1b}` escape.
    pub(crate) async fn press(&self, keys: &str) {
        for key in keys.chars() {
            let value = match key {
                '\n' => '\u{e007}',
                '\u{1b}' => '\u{e00c}',
                other => other,
            };
            let actions =
                KeyActions::new("keys".to_owned()).then(KeyAction::Down { value }).then(KeyAction::Up { value });
            self.client.perform_actions(actions).await.unwrap();
        }
    }

    /// Chooses files in a field for them, as a person does who knows where they are.
    pub(crate) async fn choose(&self, selector: &str, name: &str, content: &[u8]) {
        let file = self.folder.path().join(name);
        std::fs::write(&file, content).unwrap();
        self.client.find(Locator::Css(selector)).await.unwrap().send_keys(file.to_str().unwrap()).await.unwrap();
    }

    /// Waits for a file that is being downloaded; gives its content and takes it away.
    pub(crate) async fn downloaded(&self, name: &str) -> String {
        let folder = self.folder.path().join("downloads");
        let waiting = async {
            loop {
                let files: Vec<String> = std::fs::read_dir(&folder)
                    .map(|files| files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect())
                    .unwrap_or_default();
                let content = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
                // Its name is taken, empty, while another file is written.
                if !content.is_empty() && !files.iter().any(|file| file.ends_with(".crdownload")) {
                    return content;
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        };
        let content = tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("{name} never came"));
        std::fs::remove_file(folder.join(name)).unwrap();
        content
    }

    /// Has the browser refuse to load what these addresses match; nothing by none.
    pub(crate) async fn block(&self, addresses: &[&str]) {
        for (command, parameters) in
            [("Network.enable", json!({})), ("Network.setBlockedURLs", json!({ "urls": addresses }))]
        {
            self.client.issue_cmd(DevTools { command, parameters }).await.unwrap();
        }
    }

    /// Forgets what the browser has complained of until now.
    pub(crate) async fn forget_complaints(&self) {
        self.client.issue_cmd(BrowserLog).await.unwrap();
    }

    /// A picture, if pictures are wanted.
    pub(crate) async fn shoot(&self, name: &str) {
        let Some(folder) = std::env::var_os("LGTM_WINDOW_SHOTS") else { return };
        // Charts are drawn when their width is known: in the frame after that in which they came.
        self.client
            .execute_async("requestAnimationFrame(() => requestAnimationFrame(() => arguments[0]()))", Vec::new())
            .await
            .ok();
        tokio::time::sleep(Duration::from_millis(250)).await;
        std::fs::create_dir_all(&folder).unwrap();
        let picture = self.client.screenshot().await.unwrap();
        std::fs::write(PathBuf::from(folder).join(format!("{name}.png")), picture).unwrap();
    }

    /// Ends the browser; fails if it had anything to complain of: errors of the page, breaches of its policy, files that were not there.
    pub(crate) async fn end(mut self) {
        let said = self.client.issue_cmd(BrowserLog).await.unwrap();
        let severe: Vec<&Value> = said.as_array().unwrap().iter().filter(|entry| entry["level"] == "SEVERE").collect();
        self.close();
        self.driver.kill().await.unwrap();
        // An API that refuses is part of some tests.
        let severe: Vec<_> = severe
            .into_iter()
            .filter(|entry| !entry["message"].as_str().unwrap_or_default().contains("status of 4"))
            .collect();
        assert!(severe.is_empty(), "{severe:#?}");
    }
}

impl Browser {
    /// Ends the browser, which outlives a driver that is merely killed. What cannot be done is done already.
    fn close(&self) {
        let (port, session) = &self.session;
        let Ok(mut driver) = TcpStream::connect(("127.0.0.1", *port)) else { return };
        let request = format!("DELETE /session/{session} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
        let _ = driver.set_read_timeout(Some(Duration::from_secs(10)));
        let _ = driver.write_all(request.as_bytes()).and_then(|()| driver.read(&mut [0; 512]));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.close();
    }
}

/// Chromium's own command for what the page's console has.
#[derive(Debug)]
struct BrowserLog;

impl WebDriverCompatibleCommand for BrowserLog {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _request: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({ "type": "browser" }).to_string()))
    }
}

/// Chromium's own command for one of its developer tools.
#[derive(Debug)]
struct DevTools {
    command: &'static str,
    parameters: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _request: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({ "cmd": self.command, "params": self.parameters }).to_string()))
    }
}
