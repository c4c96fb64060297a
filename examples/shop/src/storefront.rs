//! The storefront: shows products and takes orders, for which it asks the inventory.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{MatchedPath, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use lgtm::http::{ReqwestMiddleware, UrlTemplate};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::settings::Misbehaviour;
use crate::telemetry;

/// Products have the numbers from 1 to this.
const PRODUCTS: u64 = 999;
/// How long the inventory may take to answer.
const INVENTORY_TIMEOUT: Duration = Duration::from_secs(5);

struct Storefront {
    inventory: Inventory,
    misbehaviour: Misbehaviour,
    orders: AtomicU64,
}

#[derive(Serialize)]
struct Product {
    id: u64,
    name: String,
    price_cents: u64,
}

#[derive(Deserialize)]
struct NewOrder {
    sku: u64,
}

#[derive(Serialize)]
struct Order {
    order: u64,
    sku: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("the order for sku {sku} failed")]
struct OrderError {
    sku: u64,
    source: InventoryError,
}

/// Why the inventory has not reserved anything.
#[derive(Debug, thiserror::Error)]
enum InventoryError {
    #[error("the inventory refused: {status}: {reason}")]
    Refused { status: StatusCode, reason: String },
    #[error("the inventory did not answer")]
    Unreachable(#[from] reqwest_middleware::Error),
}

impl IntoResponse for OrderError {
    /// The storefront has offered the product, so an empty stock is the shop's failure, not the customer's.
    fn into_response(self) -> Response {
        let status = match self.source {
            InventoryError::Refused { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            InventoryError::Unreachable(_) => StatusCode::BAD_GATEWAY,
        };
        (status, self.to_string()).into_response()
    }
}

/// The routes.
pub(crate) fn router(inventory: Url, misbehaviour: Misbehaviour) -> Result<Router, Box<dyn Error>> {
    let storefront = Storefront {
        inventory: Inventory { http: http_client()?, url: inventory },
        misbehaviour,
        orders: AtomicU64::new(0),
    };
    Ok(Router::new()
        .route("/products/{id}", get(show_product))
        .route("/orders", post(place_order))
        .route("/healthz", get(async || "ok"))
        .layer(telemetry::layer())
        .with_state(Arc::new(storefront)))
}

async fn show_product(
    State(storefront): State<Arc<Storefront>>,
    Path(id): Path<u64>,
) -> Result<Json<Product>, StatusCode> {
    match load_product(id, storefront.misbehaviour).await {
        Some(product) => Ok(Json(product)),
        None => {
            tracing::warn!(product = id, "no such product");
            Err(StatusCode::NOT_FOUND)
        }
    }
}

#[tracing::instrument(skip(misbehaviour))]
async fn load_product(id: u64, misbehaviour: Misbehaviour) -> Option<Product> {
    tokio::time::sleep(misbehaviour.delay(id)).await;
    (1..=PRODUCTS).contains(&id).then(|| Product { id, name: format!("product {id}"), price_cents: 99 + 10 * id })
}

async fn place_order(
    State(storefront): State<Arc<Storefront>>,
    endpoint: MatchedPath,
    Json(NewOrder { sku }): Json<NewOrder>,
) -> Result<(StatusCode, Json<Order>), OrderError> {
    match storefront.inventory.reserve(sku).await {
        Ok(()) => {
            let order = storefront.orders.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::info!(order, sku, "order placed");
            Ok((StatusCode::CREATED, Json(Order { order, sku })))
        }
        Err(source) => {
            let error = OrderError { sku, source };
            telemetry::failed(&endpoint, &error);
            Err(error)
        }
    }
}

/// The other service, as the storefront sees it.
struct Inventory {
    http: ClientWithMiddleware,
    url: Url,
}

impl Inventory {
    /// Reserves one item.
    async fn reserve(&self, sku: u64) -> Result<(), InventoryError> {
        let mut url = self.url.clone();
        url.set_path(&format!("/reserve/{sku}"));
        let response = self.http.post(url).with_extension(UrlTemplate::new("/reserve/{sku}")).send().await?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let reason = response.text().await.map_err(reqwest_middleware::Error::from)?;
        Err(InventoryError::Refused { status, reason })
    }
}

/// A client for plain HTTP between the two services, whose requests are spans and continue in the other one. It is given a TLS configuration that trusts nobody, because reqwest without a
/// TLS provider of its own does not start without one.
fn http_client() -> Result<ClientWithMiddleware, Box<dyn Error>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let client =
        reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(INVENTORY_TIMEOUT).build()?;
    Ok(ClientBuilder::new(client).with(ReqwestMiddleware::new()).build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use http::Request;
    use tokio::net::TcpListener;
    use tower::ServiceExt as _;

    fn quick() -> Misbehaviour {
        Misbehaviour { fail_every: 13, slow_every: 17, slowness: Duration::from_millis(20) }
    }

    async fn answer(router: &Router, method: &str, path: &str, body: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let response = router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 4096).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// A storefront with an inventory on a free port.
    async fn shop() -> Router {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, crate::inventory::router(quick())).await });
        router(url, quick()).unwrap()
    }

    /// A storefront whose inventory does not exist.
    async fn lonely_storefront() -> Router {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        drop(listener);
        router(url, quick()).unwrap()
    }

    #[tokio::test]
    async fn products_are_shown() {
        let shop = lonely_storefront().await;
        let expected = r#"{"id":34,"name":"product 34","price_cents":439}"#;
        assert_eq!(answer(&shop, "GET", "/products/34", "").await, (StatusCode::OK, expected.to_owned()));
        assert_eq!(answer(&shop, "GET", "/products/0", "").await.0, StatusCode::NOT_FOUND);
        assert_eq!(answer(&shop, "GET", "/products/1000", "").await.0, StatusCode::NOT_FOUND);
        assert_eq!(answer(&shop, "GET", "/healthz", "").await, (StatusCode::OK, "ok".to_owned()));
    }

    #[tokio::test]
    async fn an_order_reserves_its_goods_and_gets_a_number() {
        let shop = shop().await;
        for (order, sku) in [(1, 42), (2, 34)] {
            let expected = format!(r#"{{"order":{order},"sku":{sku}}}"#);
            let body = format!(r#"{{"sku":{sku}}}"#);
            assert_eq!(answer(&shop, "POST", "/orders", &body).await, (StatusCode::CREATED, expected));
        }
    }

    #[tokio::test]
    async fn an_empty_stock_fails_the_order() {
        let expected = (StatusCode::INTERNAL_SERVER_ERROR, "the order for sku 26 failed".to_owned());
        assert_eq!(answer(&shop().await, "POST", "/orders", r#"{"sku":26}"#).await, expected);
    }

    #[tokio::test]
    async fn an_absent_inventory_is_a_bad_gateway() {
        let expected = (StatusCode::BAD_GATEWAY, "the order for sku 1 failed".to_owned());
        assert_eq!(answer(&lonely_storefront().await, "POST", "/orders", r#"{"sku":1}"#).await, expected);
    }

    #[tokio::test]
    async fn an_order_without_sku_is_refused() {
        assert_eq!(
            answer(&lonely_storefront().await, "POST", "/orders", "{}").await.0,
            StatusCode::UNPROCESSABLE_ENTITY
        );
    }
}
