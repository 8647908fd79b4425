//! What whoever runs a server does with it while it runs: reads its settings anew,
//! takes it out of service, looks at how it is.

mod admin;
mod renewal;
mod state;

pub use admin::{Admin, AdminSettings, Health};
pub(crate) use renewal::fixed_settings;
pub use renewal::{Asks, Hangups, Renews, fixed_changed, keep_reading};
pub use state::State;
