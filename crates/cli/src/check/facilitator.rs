//! Who settles, as far as it can be asked without a payment.

use async_trait::async_trait;
use tollway_core::wire::{SettleResponse, SupportedResponse, VerifyResponse};
use tollway_core::{Facilitator, FacilitatorError, SettleRequest, VerifyRequest};

use super::Report;
use crate::chains::ServedChain;
use crate::cli::GateArgs;
use crate::commands::gate;

/// What a facilitator said that it supports. It verifies and settles nothing, so that
/// a gate that asks it moves no money.
pub struct Told(Option<SupportedResponse>);

impl Told {
    /// Nothing is known.
    pub const fn nothing() -> Self {
        Self(None)
    }

    /// An engine of our own over these chains.
    pub fn local(chains: &[ServedChain]) -> Self {
        let mut said = SupportedResponse::default();
        for chain in chains {
            said.kinds.extend(chain.chain().kinds());
            said.extensions.extend(chain.chain().extensions());
        }
        Self(Some(said))
    }

    /// One far away, which is asked.
    pub async fn remote(report: &mut Report, args: &GateArgs, url: &str) -> Self {
        let remote = match gate::remote(args, url) {
            Ok(remote) => remote,
            Err(failure) => {
                report.red_sentence("facilitator", &failure.message);
                return Self::nothing();
            }
        };
        match remote.supported().await {
            Ok(said) => {
                report.green(
                    "facilitator",
                    format!(
                        "{} answers, and lists {} ways to pay.",
                        remote.origin(),
                        said.kinds.len()
                    ),
                );
                Self(Some(said))
            }
            Err(error) => {
                report.red(
                    "facilitator",
                    format!("{} does not say what it supports ({}).", remote.origin(), what(&error)),
                    "Correct its URL, try again later, or settle yourself with facilitator = \"local\".",
                );
                Self::nothing()
            }
        }
    }

    /// Whether it said anything.
    pub const fn is_known(&self) -> bool {
        self.0.is_some()
    }
}

fn what(error: &FacilitatorError) -> &str {
    match error {
        FacilitatorError::Unavailable(why)
        | FacilitatorError::Unknown(why)
        | FacilitatorError::Protocol(why) => why,
    }
}

#[async_trait]
impl Facilitator for Told {
    async fn verify(&self, _: &VerifyRequest) -> Result<VerifyResponse, FacilitatorError> {
        Err(looks_only())
    }

    async fn settle(&self, _: &SettleRequest) -> Result<SettleResponse, FacilitatorError> {
        Err(looks_only())
    }

    async fn supported(&self) -> Result<SupportedResponse, FacilitatorError> {
        self.0.clone().ok_or_else(looks_only)
    }
}

fn looks_only() -> FacilitatorError {
    FacilitatorError::Unavailable("this gate is only looked at".to_owned())
}
