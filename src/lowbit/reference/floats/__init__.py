"""Operators on real numbers, as ONNX defines them: by ONNX's own reference evaluator, or by a rule of ours."""
