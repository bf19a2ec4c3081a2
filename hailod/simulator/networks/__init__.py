"""What runs on the chip: models from ONNX files, from HEFs, or scripted, with the outputs that a HEF would have."""
