"""What happens between "queued" and "completed"."""
