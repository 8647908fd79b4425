//! `tollway check`: proves a configuration before the first customer does, or looks at
//! anybody's endpoint from outside. It pays and signs nothing.

use crate::check::flags::CheckArgs;
use crate::check::{Report, inside, outside};
use crate::environment::Environment;
use crate::exit::{Exit, Failure};

/// Runs it.
pub async fn run(args: CheckArgs, environment: &Environment) -> Result<Exit, Failure> {
    let mut report = Report::new(args.json, environment.get("NO_COLOR").is_none());
    match args.url.clone() {
        Some(url) => outside::look(&mut report, &args, &url, environment).await?,
        None => inside::look(&mut report, args, environment).await?,
    }
    report.finish()
}
