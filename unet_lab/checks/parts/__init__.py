"""What several exercises are made of: probes, measures, and answers right and wrong."""
