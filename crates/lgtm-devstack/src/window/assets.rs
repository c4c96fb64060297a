//! The page's files, built by npm from `crates/lgtm-devstack/window`, compressed and committed: nobody who builds this crate needs Node.

use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, header};

use super::query::Refusal;
use crate::compression;

struct Asset {
    name: &'static str,
    content_type: &'static str,
    gzip: &'static [u8],
}

const PAGE: Asset = Asset {
    name: "index.html",
    content_type: "text/html; charset=utf-8",
    gzip: include_bytes!("../../window/assets/index.html.gz"),
};

const ASSETS: [Asset; 5] = [
    Asset {
        name: "window.js",
        content_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("../../window/assets/window.js.gz"),
    },
    Asset {
        name: "window.css",
        content_type: "text/css; charset=utf-8",
        gzip: include_bytes!("../../window/assets/window.css.gz"),
    },
    Asset {
        name: "theme.js",
        content_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("../../window/assets/theme.js.gz"),
    },
    Asset { name: "icon.svg", content_type: "image/svg+xml", gzip: include_bytes!("../../window/assets/icon.svg.gz") },
    Asset {
        name: "licences.txt",
        content_type: "text/plain; charset=utf-8",
        gzip: include_bytes!("../../window/assets/licences.txt.gz"),
    },
];

/// The largest file uncompressed, in bytes.
const MAX_BYTES: usize = 4 << 20;

/// The page, for each of its views.
pub(super) async fn page(headers: HeaderMap) -> Response {
    answer(&PAGE, &headers)
}

/// `GET /assets/{name}`
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Refusal> {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => Ok(answer(asset, &headers)),
        None => {
            let names: Vec<&str> = ASSETS.iter().map(|asset| asset.name).collect();
            Err(Refusal::not_found(format!("asset {name:?} is not known; there are {}", names.join(", "))))
        }
    }
}

fn answer(asset: &Asset, headers: &HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let takes_gzip = accepted.split(',').any(|encoding| {
        let (name, quality) = encoding.split_once(';').unwrap_or((encoding, ""));
        name.trim() == "gzip" && quality.trim() != "q=0"
    });
    let mut response = if takes_gzip {
        let mut response = asset.gzip.into_response();
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        // The files are this crate's own: they decompress.
        compression::gzip(asset.gzip, MAX_BYTES).unwrap_or_default().into_response()
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_decompresses_within_the_limit_and_has_what_it_says() {
        for (asset, part) in [
            (&PAGE, "<script src=\"/assets/window.js\""),
            (&ASSETS[0], "EventSource"),
            (&ASSETS[1], "light-dark("),
            (&ASSETS[2], "dataset.theme"),
            (&ASSETS[3], "<svg"),
            (&ASSETS[4], "Permission is hereby granted"),
        ] {
            let plain = compression::gzip(asset.gzip, MAX_BYTES).unwrap();
            assert!(String::from_utf8(plain).unwrap().contains(part), "{}: {part}", asset.name);
        }
    }
}
