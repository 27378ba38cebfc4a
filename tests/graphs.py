"""What the tests ask of TensorFlow's graphs."""


def ancestors(*operations):
    """The set of `operations` and of all that they depend on."""
    found, rest = set(), list(operations)
    while rest:
        operation = rest.pop()
        if operation not in found:
            found.add(operation)
            rest += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
    return found
