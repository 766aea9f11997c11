"""The room of openvino."""
