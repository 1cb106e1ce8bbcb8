"""A worker that predicts and learns for months: events come in, late labels find their samples, nothing is lost."""
