//! The scenarios of the comparison, each a small real program that is run by every approach.
//!
//! | scenario         | folder or file   | what the text recommends for it |
//! |------------------|------------------|---------------------------------|
//! | `hello`          | `hello`          | threads or coroutines           |
//! | `image-pipeline` | `image`          | threads or processes            |
//! | `web-crawler`    | `crawler`        | coroutines                      |
//! | `shell`          | `shell`          | threads or coroutines           |
//! | `untrusted`      | `untrusted`      | processes                       |
//! | `http-10k`       | `http`           | coroutines                      |
//!
//! `listen` is what those have in common that serve for real.
//!
//! A scenario is an [`Experiment`](crate::experiments::Experiment) like the others: its bodies run in helper
//! processes, its judge reads the rows.
#![forbid(unsafe_code)]

mod crawler;
mod hello;
mod http;
mod image;
mod listen;
mod shell;
mod untrusted;

pub use crawler::WebCrawler;
pub use hello::Hello;
pub use http::Http10k;
pub use image::ImagePipeline;
pub use shell::Shell;
pub use untrusted::Untrusted;
