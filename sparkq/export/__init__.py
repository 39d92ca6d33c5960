"""Programs as other tools read them: ONNX with INT8 as QuantizeLinear and DequantizeLinear, OpenVINO IR, a torch program."""
