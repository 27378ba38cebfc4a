from cvrl_tf.text import printable


def test_printable_keeps_text_and_escapes_what_a_terminal_would_obey():
    assert printable("café 漢字 'x' \"y\" \\ 100 % [1]") == "café 漢字 'x' \"y\" \\ 100 % [1]"
    assert printable("a\x1b[31mb\x07\n\r\x9bc\u2028\x85") == (r"a\x1b[31mb\x07\n\r\x9bc\u2028\x85")
    assert printable("caf\udce9") == r"caf\udce9"
    assert printable(ValueError("two\nlines")) == r"two\nlines"
