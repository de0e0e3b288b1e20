"""From text to chunks: sentences, spelling, pronunciation, plan."""
