"""How a chat becomes a prompt, and how the model's text becomes text and tool calls. One file per family of models; all of it pure."""
