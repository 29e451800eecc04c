//! Pieces of HTML that are well-formed whatever is put into them: text is escaped, elements are closed.
#![forbid(unsafe_code)]

/// A piece of HTML.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Html(String);

impl Html {
    /// Text, escaped.
    pub fn text(text: &str) -> Html {
        Html(escape(text))
    }

    /// Prose, escaped; what stands between backticks is code.
    pub fn prose(text: &str) -> Html {
        let pieces: Vec<&str> = text.split('`').collect();
        if pieces.len().is_multiple_of(2) {
            // One of the backticks has no partner, so it is a backtick.
            return Html::text(text);
        }
        let piece = |(index, piece): (usize, &&str)| {
            let text = Html::text(piece);
            if index % 2 == 1 {
                element("code", [text])
            } else {
                text
            }
        };
        join(pieces.iter().enumerate().map(piece))
    }

    /// An `<svg>` element, as [`crate::draw`] makes them.
    pub fn svg(svg: String) -> Html {
        Html(svg)
    }

    /// The characters.
    pub fn into_string(self) -> String {
        self.0
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An element with attributes.
pub fn with(
    name: &str,
    attributes: &[(&str, &str)],
    content: impl IntoIterator<Item = Html>,
) -> Html {
    let mut html = format!("<{name}");
    for (attribute, value) in attributes {
        html.push_str(&format!(" {attribute}=\"{}\"", escape(value)));
    }
    html.push('>');
    html.extend(content.into_iter().map(|child| child.0));
    html.push_str(&format!("</{name}>"));
    if IS_BLOCK.contains(&name) {
        html.push('\n');
    }
    Html(html)
}

/// Elements after which a line ends, so that the page can be read as text, too.
const IS_BLOCK: [&str; 12] = [
    "p", "li", "ul", "tr", "h1", "h2", "h3", "div", "figure", "section", "table", "dd",
];

/// An element.
pub fn element(name: &str, content: impl IntoIterator<Item = Html>) -> Html {
    with(name, &[], content)
}

/// An element of a class.
pub fn classed(name: &str, class: &str, content: impl IntoIterator<Item = Html>) -> Html {
    with(name, &[("class", class)], content)
}

/// An element of a class that holds only prose.
pub fn said(name: &str, class: &str, text: &str) -> Html {
    classed(name, class, [Html::prose(text)])
}

/// A heading and what is below it; nothing if nothing is below it.
pub fn headed(level: &str, heading: &str, content: Html) -> Html {
    if content.is_empty() {
        return content;
    }
    join([element(level, [Html::text(heading)]), content])
}

/// One after the other.
pub fn join(pieces: impl IntoIterator<Item = Html>) -> Html {
    Html(pieces.into_iter().map(|piece| piece.0).collect())
}

/// A list, a bullet for each; nothing of nothing.
pub fn list(class: &str, items: impl IntoIterator<Item = Html>) -> Html {
    let items: Vec<Html> = items
        .into_iter()
        .map(|item| element("li", [item]))
        .collect();
    if items.is_empty() {
        return Html::default();
    }
    classed("ul", class, items)
}

/// `text` as HTML, for content and for attributes. Control characters, which HTML does not allow, are replaced.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let html = with(
            "p",
            &[("title", "\"><i>")],
            [Html::text("<script>&\x1b[0m")],
        );
        assert_eq!(
            html.into_string(),
            "<p title=\"&quot;&gt;&lt;i&gt;\">&lt;script&gt;&amp;\u{fffd}[0m</p>\n"
        );
    }

    #[test]
    fn what_stands_between_backticks_is_code() {
        let html = |text| Html::prose(text).into_string();
        assert_eq!(
            html("see `<a>`, `b`"),
            "see <code>&lt;a&gt;</code>, <code>b</code>"
        );
        assert_eq!(html("a ` alone"), "a ` alone");
    }

    #[test]
    fn what_has_no_items_has_no_list_and_no_heading() {
        assert_eq!(list("", []), Html::default());
        assert_eq!(headed("h3", "Notes", list("", [])), Html::default());
    }
}
