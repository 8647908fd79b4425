//! One priced resource, and what is known of its surroundings.

use http::Method;
use tollway_core::wire::PaymentRequirements;

use super::wire::{Answer, Ask, Wire};

/// A priced resource, as it is to be asked for.
pub struct Resource {
    /// The method that stands for the others.
    pub method: Method,
    /// Whether other spellings are sent: one that is not priced is acted on.
    pub try_spellings: bool,
    /// Every method that must not be served unpaid, that one among them.
    pub methods: Vec<Method>,
    /// The request target, in origin form.
    pub path: String,
    /// The URL that its terms must name.
    pub url: String,
    /// Scheme, host and port under which it is asked for.
    pub origin: String,
    /// What is sent where a body is sent.
    pub body: Vec<u8>,
    /// What its terms must be, where our own configuration says it.
    pub expected: Option<Vec<PaymentRequirements>>,
    /// Whether it speaks the exchange of the Starknet session SDK, and not the standard's.
    pub speaks_sdk: bool,
}

impl Resource {
    /// The path without its query.
    pub fn bare_path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// Its method and path, in words.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// Answers to compare with: whether a 200 is the goods or any page.
#[derive(Default)]
pub struct Surroundings {
    /// What the server behind answers for the resource itself, where it can be asked.
    pub goods: Option<Answer>,
    /// What nobody pays for and nobody wrote: a path that is not there, asked twice.
    elsewhere: Option<(Answer, Answer)>,
    /// The root, asked twice.
    root: Option<(Answer, Answer)>,
}

/// What an answer that serves something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Nothing of worth.
    Nothing,
    /// The resource, or what nobody can tell from it.
    Goods,
    /// Something, from a server that answers every path, and each time otherwise.
    Unclear,
}

impl Surroundings {
    /// Looks around. `goods` is what was found behind.
    pub async fn look(wire: &mut Wire, goods: Option<Answer>) -> Self {
        let elsewhere = ["/tollway-check-3f9a1c", "/tollway-check-b07e52"];
        Self {
            goods,
            elsewhere: pair(wire, elsewhere).await,
            root: pair(wire, ["/", "/"]).await,
        }
    }

    /// What an answer to another spelling of the resource is.
    pub fn judge(&self, answer: &Answer) -> Served {
        judge(answer, self.goods.as_ref(), self.elsewhere.as_ref())
    }

    /// What an answer to the root with a detour is; `None` where the root itself is
    /// not served, so that nothing can be told.
    pub fn judge_detour(&self, answer: &Answer) -> Option<Served> {
        let root = self.root.as_ref().filter(|(one, _)| one.serves())?;
        Some(judge(answer, self.goods.as_ref(), Some(root)))
    }
}

async fn pair(wire: &mut Wire, paths: [&str; 2]) -> Option<(Answer, Answer)> {
    let one = wire.ask(&Ask::new(&Method::GET, paths[0])).await.ok()?;
    let other = wire.ask(&Ask::new(&Method::GET, paths[1])).await.ok()?;
    Some((one, other))
}

fn judge(answer: &Answer, goods: Option<&Answer>, usual: Option<&(Answer, Answer)>) -> Served {
    if !answer.serves() {
        return Served::Nothing;
    }
    let same = |other: &Answer| other.serves() && other.body == answer.body;
    if goods.is_some_and(same) {
        return Served::Goods;
    }
    match usual {
        Some((one, other)) if same(one) || same(other) => Served::Nothing,
        Some((one, other)) if one.serves() && other.serves() && one.body != other.body => {
            Served::Unclear
        }
        _ => Served::Goods,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn answer(status: u16, body: &'static str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.into(),
        }
    }

    #[test]
    fn a_page_that_stands_for_every_path_is_not_the_goods() {
        let page = |body| (answer(200, body), answer(200, body));
        let goods = answer(200, "goods");
        let served = answer(200, "goods");
        assert_eq!(judge(&served, Some(&goods), None), Served::Goods);
        assert_eq!(judge(&served, None, None), Served::Goods);
        let shell = page("shell");
        assert_eq!(judge(&served, None, Some(&shell)), Served::Goods);
        assert_eq!(
            judge(&answer(200, "shell"), Some(&goods), Some(&shell)),
            Served::Nothing
        );
        assert_eq!(
            judge(&answer(404, "goods"), Some(&goods), None),
            Served::Nothing
        );
        // A server that gives the goods at every path gives them away.
        assert_eq!(
            judge(&served, Some(&goods), Some(&page("goods"))),
            Served::Goods
        );
        let moody = (answer(200, "1"), answer(200, "2"));
        assert_eq!(
            judge(&answer(200, "3"), Some(&goods), Some(&moody)),
            Served::Unclear
        );
    }
}
