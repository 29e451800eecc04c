//! The links of a page, found by an HTML5 tokenizer: so those in comments and in scripts are none.
#![forbid(unsafe_code)]

use html5gum::emitters::default::DefaultEmitter;
use html5gum::{Token, Tokenizer};

use super::address::{Unfit, Url};

/// What the links of the page `html`, which came from `url`, name; in their order, as often as they stand there.
///
/// `<base href>` is obeyed. Broken HTML has the links that a browser would find.
pub fn links(html: &[u8], url: &Url) -> Vec<Result<Url, Unfit>> {
    let mut emitter = DefaultEmitter::default();
    // A tokenizer has to be told what `<script>` and `<title>` mean.
    emitter.naively_switch_states(true);
    let mut base = url.clone();
    let mut links = Vec::new();
    for Ok(token) in Tokenizer::new_with_emitter(html, emitter) {
        let Token::StartTag(tag) = token else {
            continue;
        };
        let Some(href) = tag.attributes.get(b"href".as_slice()) else {
            continue;
        };
        let href = String::from_utf8_lossy(href);
        match tag.name.as_slice() {
            b"a" | b"area" => links.push(base.join(&href)),
            b"base" => base = base.join(&href).unwrap_or(base),
            _ => {}
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_where_a_browser_finds_them() {
        let url = Url::parse("http://a/x/y").unwrap();
        let html = br#"<!doctype html><title><a href="title"></title>
            <A HREF=one>1</a> <!-- <a href="comment"> --> <script>"<a href='script'>"</script>
            <a href='two?a=1&amp;b=2'>2<a name=anchor><area href=/three><link href=style>
            <a href="https://secure/"><base href="http://b/z/"><a href=four <a href=five>"#;
        let found: Vec<_> = links(html, &url)
            .into_iter()
            .map(|link| link.map_or_else(|why| why.to_string(), |url| url.to_string()))
            .collect();
        assert_eq!(
            found,
            [
                "http://a/x/one",
                "http://a/x/two?a=1&b=2",
                "http://a/three",
                "https is not supported, only http",
                "http://b/z/four",
            ]
        );
    }

    #[test]
    fn what_is_no_html_has_no_links() {
        let url = Url::parse("http://a/").unwrap();
        assert!(links(b"\x00\xff<<<a href", &url).is_empty());
        assert!(links(b"", &url).is_empty());
    }
}
