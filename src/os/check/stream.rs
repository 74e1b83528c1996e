//! Connections to whoever is asked: by TCP, by a Unix socket, and TLS on either.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::base::outcome::{Outcome, Value, Verdict};
use crate::base::time::format_duration;
use crate::os::clock;
use crate::os::foreign::reach::{self, ANSWER_MAX, Counted};
use crate::os::foreign::{self, Purpose, Table};
use crate::plan::TlsPlan;

/// A probe has a shorter limit of its own; a message that is sent has none.
const CERTIFICATES_WITHIN: Duration = Duration::from_secs(60);

/// A connection.
pub(in crate::os) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that stands.
pub(in crate::os) struct Connection {
    pub(super) stream: Box<dyn Stream>,
    /// When the server's certificate ends, in seconds since 1970; and how long it should be valid.
    certificate: Option<(i64, std::time::Duration)>,
}

/// Connects to `address`, which is `host:port` or the path of a socket, and speaks TLS if that is wanted; `alpn` is what is spoken in it.
pub(super) async fn connect(address: &str, tls: Option<&TlsPlan>, alpn: &[&[u8]]) -> Result<Connection, String> {
    let fail = |error: std::io::Error| format!("cannot connect to {address}: {error}");
    let stream: Box<dyn Stream> = if address.starts_with('/') {
        Box::new(Counted::new(reach::unix(Path::new(address)).await.map_err(fail)?, ANSWER_MAX))
    } else {
        Box::new(Counted::new(reach::tcp(address).await.map_err(fail)?, ANSWER_MAX))
    };
    let Some(tls) = tls else { return Ok(Connection { stream, certificate: None }) };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host.trim_matches(['[', ']']));
    let name = tls.server_name.as_deref().unwrap_or(if address.starts_with('/') { "localhost" } else { host });
    secure(stream, tls, name, alpn).await.map_err(|why| format!("{address}: {why}"))
}

async fn secure(stream: Box<dyn Stream>, tls: &TlsPlan, name: &str, alpn: &[&[u8]]) -> Result<Connection, String> {
    let server = ServerName::try_from(name.to_owned()).map_err(|_| format!("`{name}` cannot be the name in a certificate"))?;
    let plan = tls.clone();
    let whose = tls.ca_file.as_ref().map_or_else(|| "certificates".to_owned(), |file| format!("certificates {}", file.display()));
    let config = foreign::look((Purpose::Probe, Table::Own), &whose, CERTIFICATES_WITHIN, move || configuration(&plan)).await;
    let mut config = config.map_err(|hangs| hangs.to_string())??;
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TlsConnector::from(Arc::new(config)).connect(server, stream).await.map_err(|error| format!("TLS failed: {error}"))?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let ends = certificate.and_then(|certificate| ends(certificate)).ok_or("the server's certificate cannot be read")?;
    Ok(Connection { stream: Box::new(stream), certificate: Some((ends, tls.valid_for)) })
}

fn configuration(tls: &TlsPlan) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| format!("TLS cannot be spoken: {error}"))?;
    Ok(match &tls.ca_file {
        _ if !tls.verify => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider))).with_no_client_auth(),
        Some(file) => builder.with_root_certificates(certificates_in(file)?).with_no_client_auth(),
        None => builder.with_root_certificates(system_certificates()).with_no_client_auth(),
    })
}

fn certificates_in(file: &Path) -> Result<RootCertStore, String> {
    let fail = |error: &dyn std::fmt::Display| format!("cannot use the certificates in {}: {error}", file.display());
    let mut store = RootCertStore::empty();
    let text = foreign::file::read(file, foreign::file::CERTIFICATES_MAX).map_err(|error| fail(&error))?;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        store.add(certificate.map_err(|error| fail(&error))?).map_err(|error| fail(&error))?;
    }
    if store.is_empty() { Err(fail(&"there are none")) } else { Ok(store) }
}

/// What the system trusts. Read once: what is trusted later is known after the daemon's next start.
fn system_certificates() -> Arc<RootCertStore> {
    static STORE: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let load = || {
        foreign::doing(format_args!("reading the certificates of the system"));
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(store)
    };
    STORE.get_or_init(load).clone()
}

/// When a certificate ends, in seconds since 1970.
fn ends(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

impl Connection {
    /// What the certificate makes of an outcome that is well without it.
    pub(super) fn judge(&self, outcome: Outcome) -> Outcome {
        let now = clock::wall().0 / 1000;
        judge(self.certificate, now, outcome)
    }
}

fn judge(certificate: Option<(i64, std::time::Duration)>, now: i64, mut outcome: Outcome) -> Outcome {
    let Some((ends, valid_for)) = certificate else { return outcome };
    let left = ends - now;
    outcome.values.push(Value::new("certificate", left as f64, "s"));
    let (verdict, text) = match u64::try_from(left) {
        Ok(left) if left >= valid_for.as_secs() => return outcome,
        Ok(left) => (Verdict::Degraded, format!("the certificate ends in {}", format_duration(std::time::Duration::from_secs(left)))),
        Err(_) => (Verdict::Failed, "the certificate has ended".into()),
    };
    if matches!(outcome.verdict, Verdict::Ok | Verdict::Degraded) {
        (outcome.verdict, outcome.text) = (verdict, text);
    }
    outcome
}

/// Takes any certificate: only how long it is valid is looked at.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_judged_by_how_long_it_is_valid() {
        let judged = |left: i64| judge(Some((1_000 + left, Duration::from_secs(600))), 1_000, Outcome::ok("fine"));
        assert_eq!((judged(600).verdict, judged(600).text.as_str(), judged(600).values[0].value), (Verdict::Ok, "fine", 600.0));
        assert_eq!((judged(120).verdict, judged(120).text.as_str()), (Verdict::Degraded, "the certificate ends in 2m"));
        assert_eq!((judged(-1).verdict, judged(-1).text.as_str()), (Verdict::Failed, "the certificate has ended"));
        let worse = judge(Some((1_001, Duration::from_secs(600))), 1_000, Outcome::failed("no"));
        assert_eq!(worse.text, "no");
    }
}
