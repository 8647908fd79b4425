//! TLS with certificates from files. A connection's handshake is made on the
//! thread that serves it, within a time of its own: whoever is slow or wrong keeps
//! nobody else waiting.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::exit::Failure;
use crate::keys;

/// A client that has not finished its handshake by then is let go.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// No chain of certificates is longer.
const MAX_CHAIN_BYTES: u64 = 256 * 1024;
/// A later end than any certificate has.
const FAR: Duration = Duration::from_secs(u32::MAX as u64 * 60);

/// A certificate with its key, read from files and found to fit each other.
#[derive(Clone)]
pub struct Certificate {
    config: Arc<ServerConfig>,
    /// Seconds since 1970 at which it ends.
    pub ends: u64,
}

impl Certificate {
    /// Reads a chain (the server's own certificate first) and its key.
    ///
    /// # Errors
    /// A sentence about the file that is wrong: unreadable, of another kind, expired,
    /// not for servers, readable by others (the key), or not of one pair.
    pub fn read(chain: &Path, key: &Path) -> Result<Self, Failure> {
        let certificates = read_chain(chain)?;
        let ends = check_time(chain, &certificates, UnixTime::now())?;
        let private = read_key(key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = config(provider, certificates, private);
        let mut config = config.map_err(|error| unfit(chain, key, &error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            ends,
        })
    }
}

fn config(
    provider: Arc<CryptoProvider>,
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Error> {
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
}

fn unfit(chain: &Path, key: &Path, error: &Error) -> Failure {
    let (chain, key) = (chain.display(), key.display());
    Failure::usage(match error {
        Error::InconsistentKeys(_) => format!(
            "The key in {key} is not that of the first certificate in {chain}; give --tls-cert and --tls-key of one pair, the server's own certificate first."
        ),
        Error::InvalidCertificate(why) => format!(
            "The first certificate in {chain} cannot be used ({why}); have it issued again for a server."
        ),
        other => format!(
            "The key in {key} cannot be used ({other}); use an ECDSA P-256, Ed25519 or RSA key of 2048 bits or more."
        ),
    })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let failed = |why: &dyn std::fmt::Display| {
        Failure::usage(format!(
            "--tls-cert {} cannot be read: {why}; name a file with the certificate in PEM.",
            path.display()
        ))
    };
    let is_long = std::fs::metadata(path).map_err(|e| failed(&e))?.len() > MAX_CHAIN_BYTES;
    if is_long {
        return Err(failed(&"it is longer than any chain of certificates"));
    }
    let text = std::fs::read(path).map_err(|e| failed(&e))?;
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|e| failed(&spoken(&e)))?;
    match found.is_empty() {
        false => Ok(found),
        true => Err(failed(&format_args!(
            "it holds {} and no certificate",
            held(&text)
        ))),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Failure> {
    let text = keys::read_private(path)?;
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| {
        let why = match error {
            PemError::NoItemsFound => {
                format!("it holds {} and no private key", held(text.as_bytes()))
            }
            other => spoken(&other).to_owned(),
        };
        Failure::usage(format!(
            "--tls-key {} cannot be used: {why}; name a file with the private key in PEM, without a passphrase.",
            path.display()
        ))
    })
}

/// What is wrong with a PEM file; never its lines, which may be of a key.
const fn spoken(error: &PemError) -> &'static str {
    match error {
        PemError::MissingSectionEnd { .. } => "a section of it has no end",
        PemError::IllegalSectionStart { .. } => "a section of it begins wrongly",
        PemError::Base64Decode(_) => "a section of it is no base64",
        _ => "it is no PEM",
    }
}

/// What a PEM file holds, in words.
fn held(text: &[u8]) -> &'static str {
    let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    if text.windows(encrypted.len()).any(|part| part == encrypted) {
        return "a key under a passphrase";
    }
    match <(SectionKind, Vec<u8>)>::from_pem_slice(text).map(|(kind, _)| kind) {
        Ok(SectionKind::Certificate) => "a certificate",
        Ok(SectionKind::PublicKey) => "a public key",
        Ok(SectionKind::RsaPrivateKey | SectionKind::PrivateKey | SectionKind::EcPrivateKey) => {
            "a private key"
        }
        Ok(SectionKind::Csr) => "a request for a certificate",
        Ok(_) => "something else",
        Err(_) => "no PEM",
    }
}

/// When the first certificate ends, if it is for servers and counts now. Nobody is
/// asked who issued it: that is for clients to say.
fn check_time(path: &Path, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<u64, Failure> {
    let why = |why: String| Failure::usage(format!("The certificate in {} {why}.", path.display()));
    match wrong_at(chain, now) {
        Some(CertificateError::ExpiredContext { not_after, .. }) => {
            let days = (now.as_secs() - not_after.as_secs()) / 86_400;
            return Err(why(format!(
                "expired {days} days ago; renew it and start again, or send SIGHUP to a server that runs"
            )));
        }
        Some(CertificateError::NotValidYetContext { .. }) => {
            return Err(why(
                "is not valid yet; set this machine's clock, or wait".to_owned()
            ));
        }
        Some(CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. }) => {
            return Err(why(
                "is not for servers; have one issued for TLS servers".to_owned()
            ));
        }
        Some(CertificateError::BadEncoding) => {
            return Err(why("is damaged; write it again".to_owned()));
        }
        _ => {}
    }
    match wrong_at(chain, UnixTime::since_unix_epoch(FAR)) {
        Some(CertificateError::ExpiredContext { not_after, .. }) => Ok(not_after.as_secs()),
        _ => Ok(u64::MAX),
    }
}

/// What is wrong with the first certificate at a time, before it is asked who issued it.
fn wrong_at(chain: &[CertificateDer<'_>], at: UnixTime) -> Option<CertificateError> {
    let parsed = match ParsedCertificate::try_from(chain.first()?) {
        Ok(parsed) => parsed,
        Err(Error::InvalidCertificate(why)) => return Some(why),
        Err(_) => return Some(CertificateError::BadEncoding),
    };
    let provider = rustls::crypto::ring::default_provider();
    let known = RootCertStore::empty();
    let algorithms = provider.signature_verification_algorithms.all;
    match verify_server_cert_signed_by_trust_anchor(&parsed, &known, &[], at, algorithms) {
        Err(Error::InvalidCertificate(why)) => Some(why),
        _ => None,
    }
}

/// The certificate that `--tls-cert` and `--tls-key` name.
pub fn certificate(
    chain: Option<&Path>,
    key: Option<&Path>,
) -> Result<Option<Certificate>, Failure> {
    let missing = |flag, other| {
        Err(Failure::usage(format!(
            "{flag} is missing beside {other}; name the PEM files of both the certificate and its key."
        )))
    };
    match (chain, key) {
        (None, None) => Ok(None),
        (Some(chain), Some(key)) => Certificate::read(chain, key).map(Some),
        (Some(_), None) => missing("--tls-key", "--tls-cert"),
        (None, Some(_)) => missing("--tls-cert", "--tls-key"),
    }
}

/// The certificate that a server shows now.
pub struct Tls {
    current: RwLock<Certificate>,
}

impl Tls {
    /// Shows this one.
    pub fn new(certificate: Certificate) -> Self {
        tell_end(&certificate);
        Self {
            current: RwLock::new(certificate),
        }
    }

    /// Shows another from the next handshake on.
    pub fn renew(&self, certificate: Certificate) {
        tell_end(&certificate);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = certificate;
    }

    /// The client's bytes behind TLS; none if it did not come to that.
    pub(super) async fn shaken(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let config = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&current.config)
        };
        let accepting = TlsAcceptor::from(config).accept(stream);
        let ended = tokio::time::timeout(HANDSHAKE_TIME, accepting).await;
        let (outcome, why) = match ended {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => ("failed", error.to_string()),
            Err(_) => ("late", "no handshake in time".to_owned()),
        };
        metrics::counter!("tollway_tls_handshakes_failed_total", "outcome" => outcome).increment(1);
        tracing::debug!(error = why, "a TLS handshake came to nothing");
        None
    }
}

/// For who watches that it is renewed.
fn tell_end(certificate: &Certificate) {
    let ends = u32::try_from(certificate.ends).unwrap_or(u32::MAX);
    metrics::gauge!("tollway_tls_certificate_ends_seconds").set(f64::from(ends));
}
