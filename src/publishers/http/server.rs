//! The wire of the page: listener, routes, headers (the only file that names axum).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::config::Spec;
use super::connection::Connection;
use super::{assets, history, host, metrics, ready::readiness, view};
use crate::publishers::publisher::{Context, PublishError, Publisher};
use crate::status::{Health, Status};
use crate::telemetry;

/// Serves the page.
#[derive(Debug)]
pub struct Http {
    spec: Spec,
}

impl Http {
    /// Most clients at a time; more wait.
    const MAX_CLIENTS: usize = 64;
    /// How long a clean stop waits for answers under way.
    const FAREWELL: Duration = Duration::from_millis(500);
    /// First and longest pause before a busy port is tried again.
    const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

    /// A page as the plan wants it.
    pub fn new(spec: Spec) -> Http {
        Http { spec }
    }

    /// Tries until the port is free; `None` when told to stop meanwhile.
    async fn listen(&self, cx: &Context) -> Option<TcpListener> {
        let mut pause = Self::RETRY.0;
        cx.stats.state.set(telemetry::Connection::Connecting);
        loop {
            let error = match TcpListener::bind(self.spec.listen).await {
                Ok(listener) => return Some(listener),
                Err(error) => error,
            };
            let listen = self.spec.listen;
            if cx.stats.state.down(format!("cannot listen on {listen}: {error}")) {
                tracing::warn!(publisher = cx.name, %listen, %error, "cannot listen; end what uses the port, or set another; tried again");
            } else {
                tracing::debug!(publisher = cx.name, %listen, %error, next_try = ?pause, "still cannot listen");
            }
            tokio::select! {
                () = cx.stop.cancelled() => return None,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(Self::RETRY.1);
        }
    }
}

impl Publisher for Http {
    async fn run(self, cx: Context) -> Result<(), PublishError> {
        let Some(listener) = self.listen(&cx).await else { return Ok(()) };
        let listen = listener.local_addr().unwrap_or(self.spec.listen);
        *cx.stats.address.lock().unwrap_or_else(|e| e.into_inner()) = format!("http://{listen}");
        cx.stats.state.set(telemetry::Connection::Up);
        tracing::info!(publisher = cx.name, address = %format_args!("http://{listen}"), "page is up");
        let (stop, stats) = (cx.stop.clone(), cx.stats.clone());
        let door = Door { listener, places: Arc::new(Semaphore::new(Self::MAX_CLIENTS)) };
        let serving = axum::serve(door, routes(cx)).with_graceful_shutdown(stop.clone().cancelled_owned());
        let too_long = async {
            stop.cancelled().await;
            tokio::time::sleep(Self::FAREWELL).await;
        };
        tokio::select! {
            ended = serving => ended.map_err(|error| PublishError(error.to_string()))?,
            () = too_long => {}
        }
        stats.state.set(telemetry::Connection::Stopped);
        Ok(())
    }
}

/// Accepts a client when there is a place.
struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl axum::serve::Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed; were it, nobody would be let in.
        let Ok(place) = self.places.clone().acquire_owned().await else {
            return std::future::pending().await;
        };
        // axum's own accept waits where the process has no more file handles.
        let (stream, from): (TcpStream, _) = axum::serve::Listener::accept(&mut self.listener).await;
        (Connection::new(stream, place), from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn routes(cx: Context) -> Router {
    let file = |kind: &'static str, content: &'static str| {
        get(async move || ([(header::CONTENT_TYPE, kind)], content))
    };
    let cx = Arc::new(cx);
    Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("page.html")))
        .route("/page.css", file("text/css; charset=utf-8", include_str!("page.css")))
        .route("/page.js", file("text/javascript; charset=utf-8", include_str!("page.js")))
        .route("/icon.svg", file("image/svg+xml", include_str!("icon.svg")))
        .route("/api/v1/status", get(async |State(cx): Shared| Json(status(&cx)).into_response()))
        .route("/api/v1/assets", get(async |State(cx): Shared| Json(assets::assets(&cx)).into_response()))
        .route(
            "/api/v1/tags",
            get(async |State(cx): Shared| Json(view::tags(&cx, &cx.directory.now())).into_response()),
        )
        .route("/api/v1/tags/{device}/{*tag}", get(one_tag))
        .route("/api/v1/history", get(read_back))
        .route("/metrics", get(scrape))
        .route("/readyz", get(ready))
        .route("/healthz", get(async |State(cx): Shared| Json(health(&cx)).into_response()))
        .fallback(async || (StatusCode::NOT_FOUND, "there is no such page\n"))
        .layer(middleware::from_fn_with_state(cx.clone(), guard))
        .with_state(cx)
}

type Shared = State<Arc<Context>>;

async fn one_tag(State(cx): Shared, Path((device, tag)): Path<(String, String)>) -> Response {
    match view::tag(&cx, &cx.directory.now(), &format!("{device}/{tag}")) {
        Some(tag) => Json(tag).into_response(),
        None => (StatusCode::NOT_FOUND, "there is no such tag\n").into_response(),
    }
}

async fn read_back(
    State(cx): Shared,
    query: Result<Query<history::Query>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(why) => return (StatusCode::BAD_REQUEST, format!("{}\n", why.body_text())).into_response(),
    };
    let accept = headers.get(header::ACCEPT).and_then(|types| types.to_str().ok());
    let answer = match history::answer(&cx, query, accept).await {
        Ok(answer) => answer,
        Err(refused) => {
            let (status, why) = match refused {
                history::Refused::Wrong(why) => (StatusCode::BAD_REQUEST, why),
                history::Refused::Unknown(why) => (StatusCode::NOT_FOUND, why),
                history::Refused::NotNow(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
            };
            return (status, format!("{why}\n")).into_response();
        }
    };
    let mut response = ([(header::CONTENT_TYPE, answer.content_type)], answer.body).into_response();
    // RFC 8288: so that a page of CSV says where the next one is, too.
    let link = answer.next.and_then(|next| HeaderValue::from_str(&format!("<{next}>; rel=\"next\"")).ok());
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

async fn ready(State(cx): Shared) -> Response {
    let readiness = readiness(&cx);
    let code = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(readiness)).into_response()
}

async fn scrape(State(cx): Shared) -> Response {
    match metrics::text(&cx.telemetry) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Around every request: who is answered, and what a browser may do with the answer.
async fn guard(State(cx): Shared, request: Request, next: Next) -> Response {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    // A request line may carry a host of its own; it must be as good as the header.
    let line = request.uri().authority().map(|authority| authority.as_str());
    let mut response = if header.is_some_and(host::is_loopback) && line.is_none_or(host::is_loopback) {
        cx.stats.messages.bump();
        next.run(request).await
    } else {
        tracing::debug!(publisher = cx.name, host = header, "refused a host name that is not loopback");
        (StatusCode::FORBIDDEN, "open this page as http://localhost or http://127.0.0.1 with its port\n")
            .into_response()
    };
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                  connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    // No web site may load any of this, not even as an image.
    let policy = header::HeaderName::from_static("cross-origin-resource-policy");
    response.headers_mut().insert(policy, HeaderValue::from_static("same-origin"));
    response
}

fn status(cx: &Context) -> Status {
    Status::of(&cx.directory.now(), &cx.store, &cx.telemetry, cx.clock.now())
}

fn health(cx: &Context) -> Health {
    Health::of(&cx.directory.now(), &cx.store, &cx.telemetry)
}
