"""What the threat model promises and no other test proves; docs/about/threat-model.md names a test for each line."""
