from cvrl_tf.text import counted, printable


def test_printable_keeps_text_and_escapes_what_a_terminal_would_obey():
    assert printable("café 漢字 'x' \"y\" \\ 100 % [1]") == "café 漢字 'x' \"y\" \\ 100 % [1]"
    assert printable("a\x1b[31mb\x07\n\r\x9bc\u2028\x85") == (r"a\x1b[31mb\x07\n\r\x9bc\u2028\x85")
    assert printable("caf\udce9") == r"caf\udce9"
    assert printable(ValueError("two\nlines")) == r"two\nlines"


def test_counted_has_the_plural_that_its_number_needs():
    said = [counted(0, "video"), counted(1, "video"), counted(2, "class"), counted("1", "class")]
    assert said == ["0 videos", "1 video", "2 classes", "1 class"]
    assert [counted("0.5", "step"), counted("1", "step")] == ["0.5 steps", "1 step"]
