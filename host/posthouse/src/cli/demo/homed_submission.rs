//! The step that several acts of the demo repeat: a homed user submits a message.

use anyhow::Result;

use crate::cli::demo::demo_client::DemoClient;
use crate::cli::demo::demo_site::{ANNA, BERT, DemoSite};

/// Anna authenticates and sends a message to Bert, who must get the message.
pub(super) async fn homed_user_submits(site: &mut DemoSite, step: &str, title: &str) -> Result<()> {
    site.title(step, title);
    let mark = site.events_so_far();
    let mut anna = DemoClient::connect(site.address(), "127.0.0.1", "anna").await?;
    anna.log_in(ANNA).await?;
    let reply = anna
        .submit(ANNA, BERT, "Lunch at noon?", "The new place by the river.")
        .await?;
    site.check("the message is accepted with 250", reply.code == 250);
    site.await_event(mark, 5007).await?;
    let delivered = site.await_mail(BERT, "Subject: Lunch at noon?").await?;
    site.check("it is in Bert's Maildir", delivered.is_some());
    if let Some(mail) = delivered {
        site.show_file(&mail, 6);
    }
    site.clear_mail(BERT)?;
    anna.quit().await;
    Ok(())
}
