//! Certificates of an authority that nobody knows, made for the story.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

use super::town::Town;

/// Who issues certificates in a town.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub pem: String,
}

/// What a certificate says of itself.
pub struct Wanted {
    /// The year in which it begins.
    pub from: i32,
    /// The year at whose begin it ends.
    pub until: i32,
    /// What it is for.
    pub purpose: ExtendedKeyUsagePurpose,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            from: 2020,
            until: 2090,
            purpose: ExtendedKeyUsagePurpose::ServerAuth,
        }
    }
}

impl Authority {
    /// A fresh one.
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate for 127.0.0.1 and its key, as PEM.
    pub fn issue(&self, wanted: &Wanted) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.not_before = date_time_ymd(wanted.from, 1, 1);
        params.not_after = date_time_ymd(wanted.until, 1, 1);
        params.extended_key_usages = vec![wanted.purpose.clone()];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes a usual certificate and its key into a town.
    pub fn write(&self, town: &Town) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.issue(&Wanted::default());
        let place = town.path("server.pem");
        std::fs::write(&place, certificate).unwrap();
        (place, town.write_private("server.key", &key))
    }

    /// A client that trusts it and nobody else.
    pub fn client(&self) -> reqwest::ClientBuilder {
        let root = reqwest::Certificate::from_pem(self.pem.as_bytes()).unwrap();
        tollway_payer::client_builder()
            .tls_certs_only([root])
            .timeout(super::seconds(60))
    }
}
