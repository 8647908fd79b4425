//! What a seller says on the page.

/// Longest name, in characters.
const MAX_NAME: usize = 60;
/// Longest text, in characters.
const MAX_TEXT: usize = 500;
/// Longest path of a logo, in bytes.
const MAX_LOGO_PATH: usize = 256;
/// Longest logo that stands in the page itself, in bytes of its `data:` URI.
const MAX_LOGO: usize = 4_000;
/// What a logo may be.
const LOGO_KINDS: [&str; 5] = ["png", "jpeg", "gif", "webp", "svg+xml"];

/// The page on which a person pays in a browser.
///
/// ```
/// use tollway_gate::Page;
///
/// let page = Page::new()
///     .name("Example Weather")?
///     .logo("/logo.svg")?
///     .text("Forecasts for people and their agents.")?;
/// # Ok::<(), tollway_gate::PageError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub(super) name: Option<String>,
    pub(super) logo: Option<String>,
    pub(super) text: Option<String>,
}

/// Why something cannot stand on the page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// A name that is empty, too long or of several lines.
    #[error("the page's name is one line of 1 to 60 characters; shorten it")]
    Name,
    /// A text that is empty, too long or holds control characters.
    #[error("the page's text is 1 to 500 characters; shorten it")]
    Text,
    /// A logo that is neither.
    #[error(
        "the page's logo is a path of this server such as /logo.svg, or data:image/png;base64,… (or jpeg, gif, webp, svg+xml) of at most 4000 bytes; correct it"
    )]
    Logo,
}

impl Page {
    /// A page that says the price and nothing of the seller.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The seller's name, 1 to 60 characters.
    ///
    /// # Errors
    /// [`PageError::Name`].
    pub fn name(mut self, name: &str) -> Result<Self, PageError> {
        self.name = Some(line(name, MAX_NAME).ok_or(PageError::Name)?);
        Ok(self)
    }

    /// A few words beside the price, 1 to 500 characters.
    ///
    /// # Errors
    /// [`PageError::Text`].
    pub fn text(mut self, text: &str) -> Result<Self, PageError> {
        self.text = Some(line(text, MAX_TEXT).ok_or(PageError::Text)?);
        Ok(self)
    }

    /// A picture: a path of this server, which must cost nothing, or a `data:` URI of
    /// an image. Nothing is ever loaded from another origin.
    ///
    /// # Errors
    /// [`PageError::Logo`].
    pub fn logo(mut self, logo: &str) -> Result<Self, PageError> {
        if !(is_path(logo) || is_image(logo)) {
            return Err(PageError::Logo);
        }
        self.logo = Some(logo.to_owned());
        Ok(self)
    }
}

fn line(text: &str, most: usize) -> Option<String> {
    let text = text.trim();
    let fits = !text.is_empty() && text.chars().count() <= most;
    (fits && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// `/…`, and no other host: `//host` and `/\host` are.
fn is_path(logo: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-~%".contains(&b);
    logo.len() <= MAX_LOGO_PATH
        && logo.starts_with('/')
        && !logo.starts_with("//")
        && logo.bytes().all(plain)
}

fn is_image(logo: &str) -> bool {
    let Some((kind, data)) = logo
        .strip_prefix("data:image/")
        .and_then(|rest| rest.split_once(";base64,"))
    else {
        return false;
    };
    let base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b);
    logo.len() <= MAX_LOGO && LOGO_KINDS.contains(&kind) && data.bytes().all(base64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logo_is_of_this_server_or_in_the_page() {
        for logo in [
            "/logo.svg",
            "/static/brand-1%20b.png",
            "data:image/png;base64,iVBORw0KGgo=",
            "data:image/svg+xml;base64,PHN2Zy8+",
        ] {
            assert!(Page::new().logo(logo).is_ok(), "{logo}");
        }
        for logo in [
            "",
            "logo.png",
            "//evil.example/x.png",
            "/\\evil.example",
            "https://evil.example/x.png",
            "javascript:alert(1)",
            "data:text/html;base64,PHNjcmlwdD4=",
            "data:image/png,<svg onload=alert(1)>",
            "data:image/png;base64,\" onerror=\"alert(1)",
            "/x.png\" onerror=\"alert(1)",
            "/x?y=//evil.example",
        ] {
            assert_eq!(Page::new().logo(logo), Err(PageError::Logo), "{logo}");
        }
        let long = format!("data:image/png;base64,{}", "A".repeat(MAX_LOGO));
        assert!(Page::new().logo(&long).is_err());
    }

    #[test]
    fn a_name_and_a_text_are_short_and_of_one_line() {
        assert!(Page::new().name("Ä <b>&</b> \"Co\"").is_ok());
        for name in ["", "  ", "a\nb", "a\u{0}b", &"x".repeat(61)] {
            assert_eq!(Page::new().name(name), Err(PageError::Name));
        }
        assert!(Page::new().text(&"é".repeat(500)).is_ok());
        for text in ["", "a\r\nb", &"x".repeat(501)] {
            assert_eq!(Page::new().text(text), Err(PageError::Text));
        }
    }
}
