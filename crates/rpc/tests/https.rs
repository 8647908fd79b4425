//! A node behind TLS, whose root only the configuration knows.
//!
//! `vectors/tls` holds a root, a certificate that it signed for `localhost` and
//! 127.0.0.1, and that certificate's key, all good for a hundred years. They
//! were made with `openssl ecparam -name prime256v1`, `req -x509` and `x509 -req`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tollway_rpc::{RpcClient, RpcConfig, RpcConfigError, RpcError};
use url::Url;

const ROOT: &[u8] = include_bytes!("vectors/tls/root.pem");
const CERTIFICATE: &[u8] = include_bytes!("vectors/tls/localhost.pem");
const KEY: &[u8] = include_bytes!("vectors/tls/localhost.key.pem");

/// A node that answers every request with 7, and closes the connection.
async fn node() -> SocketAddr {
    let chain = vec![CertificateDer::from_pem_slice(CERTIFICATE).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Whoever does not trust us ends the handshake.
                let mut stream = acceptor.accept(stream).await.ok()?;
                let mut request = vec![0; 4096];
                let _ = stream.read(&mut request).await.ok()?;
                let body = r#"{"jsonrpc":"2.0","id":0,"result":7}"#;
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.ok()?;
                stream.shutdown().await.ok()
            });
        }
    });
    address
}

fn config(host: &str, port: u16, roots: &[&[u8]]) -> RpcConfig {
    let url = Url::parse(&format!("https://user:secret@{host}:{port}/v2/key")).unwrap();
    let mut config = RpcConfig::new(vec![url]);
    config.timeout = Duration::from_secs(5);
    config.extra_roots = roots.iter().map(|pem| pem.to_vec()).collect();
    config
}

async fn ask(config: RpcConfig) -> Result<u64, RpcError> {
    let client = RpcClient::new(config).unwrap();
    client.call("seven", [(); 0]).await
}

#[tokio::test]
async fn a_node_is_asked_over_tls_by_name_and_by_address() {
    let port = node().await.port();
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(ask(config(host, port, &[ROOT])).await.unwrap(), 7, "{host}");
    }
}

#[tokio::test]
async fn a_node_whose_root_is_not_known_is_not_asked() {
    let port = node().await.port();
    let error = ask(config("localhost", port, &[])).await.unwrap_err();
    assert!(matches!(error, RpcError::Transport { .. }), "{error:?}");
    let shown = format!("{error} {error:?}");
    assert!(
        !shown.contains("secret") && !shown.contains("key"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_believed() {
    let port = node().await.port();
    let error = ask(config("[::ffff:127.0.0.1]", port, &[ROOT])).await;
    assert!(
        matches!(error, Err(RpcError::Transport { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_root_that_is_no_certificate_is_said_before_anything_is_asked() {
    let broken = b"-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n";
    for text in [b"".as_slice(), b"root.pem", broken] {
        let error = RpcClient::new(config("localhost", 1, &[text])).unwrap_err();
        assert_eq!(error, RpcConfigError::Root);
    }
}
