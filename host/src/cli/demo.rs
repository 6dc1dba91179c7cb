//! `posthouse demo`.

/// Plays the story.
pub async fn run() -> anyhow::Result<()> {
    anyhow::bail!("the demo is not part of this build")
}
