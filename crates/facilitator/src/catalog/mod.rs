//! What can be bought at sellers whose payments settle here (extension `bazaar`).
//!
//! A resource is listed after a payment for it settled, by what the seller says of
//! it in that payment. It is listed for its payee, and only a caller whose key is
//! bound to that payee lists it: anybody can pay somebody a cent, and whoever could
//! say what is sold there could send other people's buyers anywhere. Texts are data:
//! they are cut, not read.
//!
//! The list is in memory, and bounded: the resource that was paid for longest ago
//! gives way.

mod entry;
mod find;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tollway_core::wire::PaymentPayload;
use tollway_core::{Address, Timestamp};

pub(crate) use entry::{BAZAAR, Entry, Paid};
pub(crate) use find::{Page, Wanted};

/// Most resources in all.
const MAX_ENTRIES: usize = 10_000;
/// Most resources of one payee.
const MAX_OF_PAYEE: usize = 256;
/// Most bytes of JSON in all.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Most who look at once.
const MAX_FINDERS: usize = 4;

/// A resource of a payee.
type Key = (Address, String);

/// What is listed.
#[derive(Debug)]
pub(crate) struct Catalog {
    shelf: Mutex<Shelf>,
    /// One permit for each who looks.
    finders: Arc<Semaphore>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            shelf: Mutex::default(),
            finders: Arc::new(Semaphore::new(MAX_FINDERS)),
        }
    }
}

#[derive(Debug, Default)]
struct Shelf {
    /// Shared with who looks, and copied only where it changes meanwhile.
    entries: Arc<BTreeMap<Key, Arc<Entry>>>,
    /// Of all of them.
    bytes: usize,
}

/// What became of a resource, as `EXTENSION-RESPONSES` says it to the seller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// It is listed.
    Listed,
    /// Its payment is not settled yet.
    Processing,
    /// It is not, and why.
    Rejected(&'static str),
}

impl Report {
    pub(crate) fn to_json(self) -> Value {
        let told = match self {
            Self::Listed => json!({ "status": "success" }),
            Self::Processing => json!({ "status": "processing" }),
            Self::Rejected(why) => json!({ "status": "rejected", "rejectedReason": why }),
        };
        json!({ BAZAAR: told })
    }
}

/// Whether a payment says how its resource is used.
pub(crate) fn is_declared(payload: &PaymentPayload) -> bool {
    let all = payload.extensions.as_ref();
    all.is_some_and(|all| all.contains_key(BAZAAR))
}

impl Catalog {
    /// Lists what a settled payment was for, once for each payment. The caller speaks
    /// for its payee.
    pub(crate) fn list(
        &self,
        payload: &PaymentPayload,
        payee: &Address,
        paid: Paid,
        now: Timestamp,
    ) -> Report {
        if paid.transaction.is_empty() {
            return Report::Rejected("nothing_was_paid");
        }
        let (resource, entry) = match Entry::read(payload, paid, now) {
            Ok(read) => read,
            Err(why) => return Report::Rejected(why),
        };
        self.shelf().put((payee.clone(), resource), entry)
    }

    /// [`Catalog::find`] beside the tasks that settle; none where so many are looking
    /// that the next one is to come later. It costs a look at each resource, and asks for
    /// no key.
    pub(crate) async fn look(
        self: &Arc<Self>,
        wanted: Wanted,
        page: Page,
    ) -> Option<(Vec<Value>, usize)> {
        let place = Arc::clone(&self.finders).try_acquire_owned().ok()?;
        let this = Arc::clone(self);
        let looking = tokio::task::spawn_blocking(move || {
            let found = this.find(&wanted, page);
            drop(place);
            found
        });
        looking.await.ok()
    }

    /// A page of what is wanted, what was paid for last first.
    fn find(&self, wanted: &Wanted, page: Page) -> (Vec<Value>, usize) {
        // Nobody who settles waits until all of it is read and written.
        let all = Arc::clone(&self.shelf().entries);
        let fitting = all
            .iter()
            .filter(|((_, at), entry)| wanted.fits((at, entry)));
        let mut fitting: Vec<(&Key, &Arc<Entry>)> = fitting.collect();
        fitting.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.updated));
        let total = fitting.len();
        let page = fitting.into_iter().skip(page.offset).take(page.limit);
        (
            page.map(|((_, at), entry)| entry.to_json(at)).collect(),
            total,
        )
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn put(&mut self, key: Key, entry: Entry) -> Report {
        let of_this = |(_, known): &(&Key, &Arc<Entry>)| known.paid == entry.paid;
        if let Some((at, _)) = self.entries.iter().find(of_this) {
            return match *at == key {
                true => Report::Listed,
                false => Report::Rejected("payment_listed_another_resource"),
            };
        }
        let entry = match self.entries.get(&key) {
            Some(known) => known.renewed(entry),
            None if self.count_of(&key.0) >= MAX_OF_PAYEE => {
                return Report::Rejected("too_many_resources");
            }
            None => entry,
        };
        self.take(&key);
        self.bytes += key.1.len() + entry.bytes();
        Arc::make_mut(&mut self.entries).insert(key, Arc::new(entry));
        while self.entries.len() > MAX_ENTRIES || self.bytes > MAX_BYTES {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.updated);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            self.take(&oldest);
        }
        Report::Listed
    }

    fn take(&mut self, key: &Key) {
        if let Some(entry) = Arc::make_mut(&mut self.entries).remove(key) {
            self.bytes -= key.1.len() + entry.bytes();
        }
    }

    fn count_of(&self, payee: &Address) -> usize {
        let own = (payee.clone(), String::new())..;
        let own = self.entries.range(own);
        own.take_while(|((of, _), _)| of == payee).count()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn payment(url: &str, payee: &str) -> PaymentPayload {
        serde_json::from_value(json!({
            "x402Version": 2,
            "resource": { "url": url, "description": "Weather\u{0} of a city", "mimeType": "application/json",
                "serviceName": "Weather", "tags": ["weather", "x".repeat(33), "\u{7}"], "iconUrl": "http://a.example/i.png" },
            "accepted": { "scheme": "exact", "network": "eip155:84532", "amount": "10000",
                "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "payTo": payee, "maxTimeoutSeconds": 60 },
            "payload": { "signature": "0x11" },
            "extensions": { "bazaar": { "info": { "input": { "type": "http", "method": "GET" } }, "schema": {} } },
        }))
        .unwrap()
    }

    fn payee(n: usize) -> (String, Address) {
        let text = format!("0x{n:040x}");
        let network = tollway_core::Network::eip155(84532);
        let address = network.address(&text).unwrap();
        (text, address)
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// A payment that was not there before.
    fn paid() -> Paid {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Paid {
            transaction: format!("0x{:064x}", NEXT.fetch_add(1, Ordering::Relaxed)),
            payer: "0xa".to_owned(),
        }
    }

    const ALL: Page = Page {
        offset: 0,
        limit: 100,
    };

    #[test]
    fn a_resource_is_listed_once_for_each_payee_and_nobody_writes_over_anothers() {
        let catalog = Catalog::default();
        let ((one, of_one), (two, of_two)) = (payee(1), payee(2));
        let url = "https://a.example/paid?x=1#y";
        assert_eq!(
            catalog.list(&payment(url, &one), &of_one, paid(), at(1)),
            Report::Listed
        );
        assert_eq!(
            catalog.list(&payment(url, &one), &of_one, paid(), at(2)),
            Report::Listed
        );
        let mut other = payment(url, &two);
        other.resource.as_mut().unwrap().description = Some("Go elsewhere".to_owned());
        assert_eq!(catalog.list(&other, &of_two, paid(), at(3)), Report::Listed);
        let (listed, total) = catalog.find(&Wanted::default(), ALL);
        assert_eq!(total, 2);
        assert_eq!(listed[0]["description"], "Go elsewhere");
        assert_eq!(listed[1]["description"], "Weather of a city");
        assert_eq!(listed[1]["resource"], "https://a.example/paid");
        assert_eq!(listed[1]["lastUpdated"], "1970-01-01T00:00:02.000Z");
    }

    #[test]
    fn what_a_seller_says_is_cut_and_never_holds_a_signature() {
        let catalog = Catalog::default();
        let (text, of) = payee(1);
        catalog.list(&payment("https://a.example/x", &text), &of, paid(), at(1));
        let (listed, _) = catalog.find(&Wanted::default(), ALL);
        let item = &listed[0];
        assert_eq!(item["tags"], json!(["weather"]));
        assert!(item.get("iconUrl").is_none(), "an icon comes by https only");
        assert!(!item.to_string().contains("signature"));
        assert_eq!(item["accepts"][0]["payTo"], text);
    }

    #[test]
    fn what_cannot_be_listed_says_why() {
        let catalog = Catalog::default();
        let (text, of) = payee(1);
        let list = |change: &dyn Fn(&mut PaymentPayload)| {
            let mut payment = payment("https://a.example/x", &text);
            change(&mut payment);
            catalog.list(&payment, &of, paid(), at(1))
        };
        for url in [
            "",
            "x",
            "ftp://a.example/x",
            "https://u:p@a.example/x",
            "javascript:alert(1)",
        ] {
            let got = list(&|p| p.resource.as_mut().unwrap().url = url.to_owned());
            assert_eq!(got, Report::Rejected("invalid_resource"), "{url}");
        }
        for (template, why) in [
            ("/a/../b", "invalid_route_template"),
            ("/a/%2e%2e/b", "invalid_route_template"),
            ("/a/%3a//b?c", "invalid_route_template"),
            ("//evil.example", "invalid_route_template"),
            ("no-slash", "invalid_route_template"),
        ] {
            let got = list(&|p| {
                p.extensions.as_mut().unwrap()["bazaar"]["routeTemplate"] = template.into();
            });
            assert_eq!(got, Report::Rejected(why), "{template}");
        }
        let info = |info: Value| {
            list(&|p| p.extensions.as_mut().unwrap()["bazaar"]["info"] = info.clone())
        };
        assert_eq!(info(json!({})), Report::Rejected("invalid_info"));
        assert_eq!(
            info(json!({"input": {"type": "ftp"}})),
            Report::Rejected("invalid_info")
        );
        assert_eq!(
            info(json!({"input": {"type": "http"}})),
            Report::Rejected("invalid_info")
        );
        let long =
            json!({"input": {"type": "http", "method": "GET"}, "output": "x".repeat(20_000)});
        assert_eq!(info(long), Report::Rejected("too_long"));
        let got = list(&|p| {
            let schema = json!({"a": [{"$ref": "https://evil.example/"}]});
            p.extensions.as_mut().unwrap()["bazaar"]["schema"] = schema;
        });
        assert_eq!(got, Report::Rejected("external_reference"));
        assert_eq!(catalog.find(&Wanted::default(), ALL).1, 0);
    }

    #[test]
    fn a_template_stands_for_all_its_resources() {
        let catalog = Catalog::default();
        let (text, of) = payee(1);
        for id in 0..3 {
            let mut payment = payment(&format!("https://a.example/users/{id}"), &text);
            payment.extensions.as_mut().unwrap()["bazaar"]["routeTemplate"] = "/users/:id".into();
            catalog.list(&payment, &of, paid(), at(id));
        }
        let (listed, total) = catalog.find(&Wanted::default(), ALL);
        assert_eq!(
            (total, listed[0]["resource"].as_str()),
            (1, Some("https://a.example/users/:id"))
        );
    }

    #[test]
    fn the_list_is_bounded_for_each_payee_and_in_all() {
        let catalog = Catalog::default();
        let (text, of) = payee(1);
        for n in 0..MAX_OF_PAYEE {
            let url = format!("https://a.example/{n}");
            assert_eq!(
                catalog.list(&payment(&url, &text), &of, paid(), at(1)),
                Report::Listed
            );
        }
        let one_more = catalog.list(
            &payment("https://a.example/more", &text),
            &of,
            paid(),
            at(1),
        );
        assert_eq!(one_more, Report::Rejected("too_many_resources"));
        let same = catalog.list(&payment("https://a.example/0", &text), &of, paid(), at(2));
        assert_eq!(same, Report::Listed);
        for n in 0..MAX_ENTRIES {
            let (text, of) = payee(n + 2);
            catalog.list(&payment("https://b.example/x", &text), &of, paid(), at(3));
        }
        let (_, total) = catalog.find(&Wanted::default(), ALL);
        assert_eq!(total, MAX_ENTRIES);
    }

    #[test]
    fn a_payment_lists_one_resource_and_makes_it_new_once() {
        let catalog = Catalog::default();
        let (text, of) = payee(1);
        let (one, once) = (payment("https://a.example/one", &text), paid());
        let other = payment("https://a.example/other", &text);
        let list = |payment, paid: &Paid, now| catalog.list(payment, &of, paid.clone(), at(now));
        assert_eq!(list(&one, &once, 1), Report::Listed);
        assert_eq!(list(&one, &once, 2), Report::Listed);
        assert_eq!(
            list(&other, &once, 2),
            Report::Rejected("payment_listed_another_resource")
        );
        let nothing = Paid {
            transaction: String::new(),
            payer: "0xa".to_owned(),
        };
        assert_eq!(
            list(&other, &nothing, 2),
            Report::Rejected("nothing_was_paid")
        );
        let (listed, total) = catalog.find(&Wanted::default(), ALL);
        assert_eq!(total, 1);
        assert_eq!(listed[0]["lastUpdated"], "1970-01-01T00:00:01.000Z");
    }

    #[tokio::test]
    async fn so_many_look_at_once_and_no_more() {
        let catalog = Arc::new(Catalog::default());
        let (text, of) = payee(1);
        catalog.list(&payment("https://a.example/x", &text), &of, paid(), at(1));
        let look = || catalog.look(Wanted::default(), ALL);
        assert_eq!(look().await.unwrap().1, 1);
        let looking = Arc::clone(&catalog.finders);
        let all = looking.try_acquire_many(MAX_FINDERS as u32).unwrap();
        assert!(look().await.is_none(), "the next one comes later");
        drop(all);
        assert_eq!(look().await.unwrap().1, 1);
    }

    #[test]
    fn long_descriptions_of_many_do_not_fill_the_memory() {
        let catalog = Catalog::default();
        let most = MAX_BYTES / 16_000;
        for n in 0..most + 300 {
            let (text, of) = payee(n + 1);
            let mut payment = payment("https://a.example/x", &text);
            payment.extensions.as_mut().unwrap()["bazaar"]["info"]["output"] =
                "x".repeat(16_000).into();
            let listed = catalog.list(&payment, &of, paid(), at(n as u64));
            assert_eq!(listed, Report::Listed);
        }
        let (listed, total) = catalog.find(&Wanted::default(), ALL);
        assert!(total < most, "{total} of {most}");
        let last = payee(most + 300).0;
        assert_eq!(listed[0]["accepts"][0]["payTo"], last, "the newest stays");
    }

    #[test]
    fn a_search_finds_by_all_words_and_filters_by_what_is_taken() {
        let catalog = Catalog::default();
        for n in 1..=3 {
            let (text, of) = payee(n);
            catalog.list(
                &payment(&format!("https://{n}.example/paid"), &text),
                &of,
                paid(),
                at(n as u64),
            );
        }
        let found = |wanted: Wanted| catalog.find(&wanted, ALL).1;
        let words = |text: &str| Wanted::default().words(text);
        assert_eq!(found(words("WEATHER city")), 3);
        assert_eq!(found(words("weather 2.example")), 1);
        assert_eq!(found(words("weather nothing")), 0);
        let pay_to = Some(payee(2).0.to_uppercase().replacen("0X", "0x", 1));
        assert_eq!(
            found(Wanted {
                pay_to,
                ..Wanted::default()
            }),
            1
        );
        let kind = |kind: &str| Wanted {
            kind: Some(kind.to_owned()),
            ..Wanted::default()
        };
        assert_eq!((found(kind("http")), found(kind("mcp"))), (3, 0));
        let network = |network: &str| Wanted {
            network: Some(network.to_owned()),
            ..Wanted::default()
        };
        assert_eq!(
            (found(network("eip155:84532")), found(network("eip155:1"))),
            (3, 0)
        );
        let second = catalog.find(
            &Wanted::default(),
            Page {
                offset: 1,
                limit: 1,
            },
        );
        assert_eq!((second.0.len(), second.1), (1, 3));
        assert_eq!(second.0[0]["resource"], "https://2.example/paid");
    }
}
