"""Ways of adapting a model, by name: made, trained, saved as safetensors, loaded, merged; and which of them can be served, and how."""
