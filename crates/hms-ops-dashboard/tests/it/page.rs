//! The page under any prefix, built or not.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use tower::ServiceExt;

use crate::world::{World, text};

#[tokio::test]
async fn the_page_is_there_or_says_how_to_build_it() {
    let world = World::new().await;
    let response = world.get("/").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    let page = text(response).await;
    let Some((_, script)) = page.split_once("src=\"./assets/") else {
        assert!(page.contains("cargo xtask ui") && page.contains("The API works"), "{page}");
        return;
    };
    let script = format!("/assets/{}", script.split('"').next().unwrap());
    let response = world.get(&script).await;
    assert_eq!(response.headers()["content-type"], "text/javascript; charset=utf-8");
    assert_eq!(response.headers()["cache-control"], "public, max-age=31536000, immutable");

    let etag = response.headers()["etag"].clone();
    let again = world.request(Request::get(&script).header("if-none-match", etag)).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    let packed = world.request(Request::get(&script).header("accept-encoding", "gzip")).await;
    assert_eq!(packed.headers()["content-encoding"], "gzip");
}

#[tokio::test]
async fn the_page_lives_under_any_prefix_and_has_its_folder_as_its_address() {
    let world = World::new().await;
    let nested = Router::new().nest_service("/ops/dashboard", world.router.clone());
    let with_slash = Router::new().nest("/ops/dashboard/", world.router.clone());

    for router in [&nested, &with_slash] {
        let page = get(router, "/ops/dashboard/").await;
        assert_eq!(page.status(), StatusCode::OK);
        assert!(!text(page).await.contains("=\"/"), "an absolute URL leaves the prefix");
        assert_eq!(get(router, "/ops/dashboard/api/services").await.status(), StatusCode::OK);
    }

    let bare = get(&nested, "/ops/dashboard?service=claims").await;
    assert_eq!(bare.status(), StatusCode::PERMANENT_REDIRECT);
    assert_eq!(bare.headers()["location"], "./dashboard/?service=claims");
}

async fn get(router: &Router, path: &str) -> Response<Body> {
    router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()
}
