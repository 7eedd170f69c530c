"""The secure sum as sans-I/O state machines: values in, values out, every illegal step an error."""
