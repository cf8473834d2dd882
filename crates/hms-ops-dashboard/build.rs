//! Writes the table of the page's files. Never runs npm: `cargo xtask ui` builds the page.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};

const DIST: &str = "HMS_OPS_DASHBOARD_DIST";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={DIST}");
    let dist = env::var_os(DIST).filter(|dist| !dist.is_empty()).map_or_else(
        || PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("dist"),
        PathBuf::from,
    );
    // While there is no such folder this reruns at every build, which is how the first build of
    // the page is noticed.
    println!("cargo::rerun-if-changed={}", dist.display());

    let mut files = BTreeMap::new();
    if dist.is_dir() {
        let dist = dist.canonicalize()?;
        collect(&dist, &dist, &mut files)?;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("files.rs"), table(&files)?)
}

/// Finds every file below `folder`, by its path relative to `dist` with `/` between the parts.
fn collect(dist: &Path, folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(dist, &path, files)?;
        } else if let Ok(relative) = path.strip_prefix(dist) {
            let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
            files.insert(parts.join("/"), path);
        }
    }
    Ok(())
}

/// The table as the source of a slice; a `.gz` is part of the file that it is a copy of.
fn table(files: &BTreeMap<String, PathBuf>) -> io::Result<String> {
    let mut source = String::from("&[\n");
    for (name, path) in files {
        if name.strip_suffix(".gz").is_some_and(|plain| files.contains_key(plain)) {
            continue;
        }
        let gzip = match files.get(&format!("{name}.gz")) {
            Some(gzip) => format!("Some(include_bytes!({gzip:?}))"),
            None => "None".to_owned(),
        };
        let (kind, etag) = (content_type(name), etag(&fs::read(path)?));
        writeln!(
            source,
            "    File {{ path: {name:?}, content_type: {kind:?}, etag: {etag:?}, \
             plain: include_bytes!({path:?}), gzip: {gzip} }},"
        )
        .map_err(io::Error::other)?;
    }
    source.push_str("]\n");
    Ok(source)
}

/// The content's hash, as the inner part of a strong entity tag.
fn etag(content: &[u8]) -> String {
    let mut hash = DefaultHasher::new();
    hash.write(content);
    format!("{:016x}{:x}", hash.finish(), content.len())
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" | "map" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        "png" => "image/png",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}
