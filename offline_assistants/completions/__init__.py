"""What happens between a chat completion request, or a completion request, and its answer."""
